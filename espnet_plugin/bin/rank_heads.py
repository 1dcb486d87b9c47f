"""Which heads matter, how far attention must reach, and the best refinement as a block plan.

::

    python -m espnet_plugin.bin.rank_heads --model exp/asr --analysis exp/asr/analysis \\
        --data dump/raw/dev --out exp/asr/ranking
    python -m espnet_plugin.bin.apply_plan --model exp/asr --plan exp/asr/ranking/plan.yaml \\
        --out_exp exp/asr_refined
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from espnet_plugin.primitives import bound_primitives

if TYPE_CHECKING:
    from espnet_plugin.analysis.heads.head_curves import Points
    from espnet_plugin.analysis.suite.subject import Subject

logger = logging.getLogger(__name__)
CAPACITIES = ("greedy", "k2", "phone", "word", "speaker")


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Prune the heads of a recogniser in several orders, limit its attention's "
        "span, and propose the best refinement; see docs/ranking.md. Stopped, it goes on where it "
        "was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="ESPnet experiment with a CTC layer")
    parser.add_argument("--checkpoint", help="file in the experiment (default: average or best)")
    parser.add_argument(
        "--analysis",
        required=True,
        help="directory of espnet_plugin.bin.analyze, with the measure attention",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="Kaldi directory with text, or file of lhotse cuts: what errors are counted on",
    )
    parser.add_argument("--out", required=True, help="directory for the results")
    parser.add_argument(
        "--capacity",
        nargs="+",
        choices=CAPACITIES,
        default=["greedy"],
        help="errors of greedy decoding (words and tokens), of k2 (words), of the probes of phones "
        "(frames), words or speakers (utterances) of --analysis",
    )
    parser.add_argument(
        "--alignments", help="for --capacity phone: TextGrids, or lhotse cuts or supervisions"
    )
    parser.add_argument("--graph", help="HLG.pt of compile_graph, for k2; none: CTC topology")
    parser.add_argument("--bpemodel", help="instead of the SentencePiece model of the experiment")
    parser.add_argument(
        "--orders",
        nargs="+",
        metavar="MEASURE",
        help="globalness, verticality, diagonality, maximum_weight (default: all)",
    )
    parser.add_argument("--parts", type=int, default=6, help="steps of a pruning curve")
    parser.add_argument("--random", type=int, default=3, help="orders at random, the control")
    parser.add_argument("--spans", type=int, nargs="*", help="frames (default: 50 25 15 5 3 2 1 0)")
    parser.add_argument(
        "--single", choices=["true", "false"], default="true", help="also prune each head alone"
    )
    parser.add_argument("--plan_by", help="what decides on the plan (default: the first measured)")
    parser.add_argument("--seed", type=int, default=0, help="of orders at random")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="speech in one batch")
    parser.add_argument(
        "--batch_size",
        type=int,
        default=1,
        help="most utterances of a batch; more than one pads, which changes what edited "
        "Conformers say at the ends of utterances",
    )
    parser.add_argument("--num_threads", type=int, default=2, help="processor threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command; tables go to standard output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    bound_primitives()
    try:
        report = _rank(args)
    except (ImportError, OSError, ValueError, TypeError) as error:
        sys.exit(f"rank_heads: {error}")
    _show(report)


def _rank(args: argparse.Namespace) -> Dict[str, Any]:
    import csv

    import torch

    from espnet_plugin.analysis.heads import ranking_report as write
    from espnet_plugin.analysis.heads.head_curves import (
        SPANS,
        pruning_curves,
        single_heads,
        span_curves,
    )
    from espnet_plugin.analysis.heads.ranking import (
        HIGHEST_FIRST,
        equal_numbers,
        importance_orders,
        measured_heads,
        random_order,
    )
    from espnet_plugin.analysis.maps.attention_report import load_report
    from espnet_plugin.analysis.suite.results import environment
    from espnet_plugin.analysis.suite.subject import load_subject
    from espnet_plugin.analysis.sums.resample import Resampling
    from espnet_plugin.atomic import atomic_open, write_json

    torch.set_num_threads(args.num_threads)
    attention = load_report(args.analysis)
    heads = measured_heads(attention)
    subject = load_subject(args.model, args.checkpoint, args.device)
    there = {(b, h) for b in subject.leaders for h in range(subject.heads[b])}
    if set(heads) != there:
        raise ValueError(
            f"{args.analysis}: of a model with {len(heads)} heads, and {args.model} has "
            f"{len(there)}; analyze this model"
        )
    if attention["model"].get("sha256") != subject.fingerprint:
        raise ValueError(
            f"{args.analysis}: of {attention['model']['directory']} with other parameters than "
            f"those of {args.model}; analyze this model"
        )
    limits = list(SPANS) if args.spans is None else list(args.spans)
    if any(limit < 0 for limit in limits):
        raise ValueError(f"--spans: a span is 0 frames or more, not {min(limits)}")
    orders = importance_orders(heads, args.orders or tuple(HIGHEST_FIRST))
    controls = {
        f"{write.RANDOM}{n}": random_order(list(heads), args.seed + n) for n in range(args.random)
    }

    points, names, data = _points(args, subject)
    unedited = points.unedited()
    if args.plan_by is not None and args.plan_by not in unedited:
        raise ValueError(f"--plan_by {args.plan_by}: one of {', '.join(unedited)}")
    pruned = pruning_curves(points, {**orders, **controls}, args.parts)
    limited = span_curves(points, limits)
    alone = single_heads(points, heads) if args.single == "true" else {}
    equal = {
        category: (chosen, points.masked(chosen))
        for category, chosen in equal_numbers(heads).items()
    }
    drawn = Resampling(len(names))
    single = write.single(alone, unedited, drawn)
    report: Dict[str, Any] = {
        "schema": write.SCHEMA,
        "model": subject.describe(),
        "data": data,
        "environment": environment(),
        "options": vars(args),
        "unedited": write.point(unedited, drawn),
        "heads": [
            {"block": block, **values, "alone": single.get((block, head))}
            for (block, head), values in heads.items()
        ],
        "orders": {
            name: [list(h) for h in order] for name, order in {**orders, **controls}.items()
        },
        "curves": write.curves(pruned, len(heads), args.parts, drawn),
        "spans": write.spans(limited, [None, *limits], drawn),
        "summary": write.mean_rises(pruned, drawn),
        "contrasts": write.contrasts(pruned, drawn),
        "categories": write.categories(heads, alone, equal, unedited, drawn),
        "refinement": None,
    }
    out = Path(args.out)
    if subject.stack is not None:
        by = args.plan_by or next(iter(unedited))
        report["refinement"] = _refine(points, orders, limits, by, args.parts, out / "plan.yaml")
    else:
        logger.info("%s: no stack, so there is no plan for it", args.model)
    with atomic_open(out / "curves.csv") as stream:
        csv.writer(stream, lineterminator="\n").writerows(write.curve_rows(report))
    write_json(out / "ranking.json", report)
    logger.info("%s: written", out / "ranking.json")
    return report


def _points(args: argparse.Namespace, subject: Subject) -> Any:
    """The points of the model, the utterances, and what is to be known about the data."""
    import hashlib

    import torch

    from espnet_plugin.analysis.heads.head_curves import Points
    from espnet_plugin.analysis.heads.recognition import Recognition
    from espnet_plugin.analysis.probes.readers import READ, reader_of
    from espnet_plugin.analysis.suite.measure import Context
    from espnet_plugin.decode.decoder import CtcDecoder
    from espnet_plugin.decode.journal import Journal
    from espnet_plugin.decode.text import token_text
    from espnet_plugin.stacks.batches import list_utterances
    from espnet_plugin.surgery.refinement import halves

    if subject.experiment is None:
        raise ValueError(f"{args.model}: recognises nothing; name an ESPnet experiment")
    text = token_text(subject.experiment, bpemodel=args.bpemodel)
    model, decoders = subject.experiment.model, {}
    if "greedy" in args.capacity:
        decoders["greedy"] = CtcDecoder(model, text, "greedy")
    if "k2" in args.capacity:
        method = "ctc" if args.graph is None else "hlg"
        decoders["k2"] = CtcDecoder(model, text, method, args.graph)
    elif args.graph is not None:
        raise ValueError("--graph is for --capacity k2")
    utterances = list_utterances(args.data, subject.rate)
    context = Context(subject, str(args.data), utterances)
    readers = {
        what: reader_of(
            what,
            args.analysis,
            args.data,
            utterances,
            subject.clock,
            args.alignments,
            subject.fingerprint,
        )
        for what in args.capacity
        if what in READ
    }
    batching = (args.batch_seconds, args.batch_size)
    recognition = Recognition(subject, utterances, context.texts, decoders, readers, *batching)
    for what, reader in readers.items():
        for half in halves(len(recognition.names)):
            if not reader.counted.intersection(recognition.names[place] for place in half):
                raise ValueError(
                    f"--capacity {what}: {len(reader.counted)} of {len(utterances)} utterances of "
                    f"{args.data} count (the probe was fitted on the others, or they have no "
                    "label); give more data"
                )
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    made = None if args.graph is None else Path(args.graph).stat().st_mtime_ns
    texts = [context.texts[name] for name in recognition.names]
    job: List[Any] = [subject.fingerprint, recognition.names, texts]
    job += [
        sorted(args.capacity),
        [reader.identity() for _, reader in sorted(readers.items())],
        args.graph,
        made,
        *batching,
        torch.__version__,
    ]
    journal = Journal(out / "points.jsonl", job)
    if journal.entries:
        logger.info("%s: %d points were measured before", journal.path, len(journal.entries))
    told = hashlib.sha256("\n".join(recognition.names).encode()).hexdigest()
    data = {"directory": str(args.data), "utterances": len(utterances), "sha256": told}
    data["seconds"] = sum(utterance.seconds for utterance in utterances)
    return Points(subject, recognition, journal), recognition.names, data


def _refine(
    points: Points,
    orders: Any,
    limits: List[int],
    measure: str,
    parts: int,
    path: Path,
) -> Dict[str, Any]:
    from espnet_plugin.analysis.heads.ranking_report import refinement
    from espnet_plugin.surgery.plan import StackDescription
    from espnet_plugin.surgery.refinement import halves, refine

    subject, unedited = points.subject, points.unedited()
    both = halves(len(unedited[measure]))
    windows = [limit for limit in limits if limit > 0]
    chosen, tried = refine(points, orders, windows, measure, both[0], parts)
    description = StackDescription(subject.family, subject.blocks, str(subject.path))
    counts = {block: subject.heads[block] for block in subject.leaders}
    edited = points.plan(chosen.plan(description, counts))
    found = refinement(chosen, tried, edited, unedited, measure, both)
    choice, check = found["choice"], found["check"]
    low, high = check["interval_95"]
    because = (
        f"{chosen.name}: {measure} errors {choice['unedited']:.2f} to {choice['refined']:.2f} % on "
        f"the {choice['utterances']} utterances that chose it, {check['unedited']:.2f} to "
        f"{check['refined']:.2f} % (rise {low:+.2f} to {high:+.2f}, 95 %) on the "
        f"{check['utterances']} others [I]"
    )
    chosen.plan(description, counts, because).save(path)
    logger.info("%s: %s", path, because)
    return {**found, "plan": path.name, "because": because}


def _show(report: Dict[str, Any]) -> None:
    measures = list(report["unedited"])
    print(f"| order | {' | '.join(f'mean rise, {name} (95 %)' for name in measures)} |")
    print("|---" * (1 + len(measures)) + "|")
    for order, row in report["summary"].items():
        cells = []
        for name in measures:
            low, high = row[name]["interval_95"]
            cells.append(f"{row[name]['mean_rise']:.2f} ({low:.2f}–{high:.2f})")
        print(f"| {order} | {' | '.join(cells)} |")
    for category, found in report["categories"].items():
        if found["equal"] is not None:
            told = [
                _difference(name, v["rise"], v) for name, v in found["equal"]["measures"].items()
            ]
            count = len(found["equal"]["heads"])
            print(f"{category}: {count} of {found['heads']} heads pruned: {', '.join(told)}")
        if found["alone"] is not None:
            told = [_difference(name, v["mean_rise"], v) for name, v in found["alone"].items()]
            print(f"{category}: each of {found['heads']} heads pruned alone: {', '.join(told)}")
    if report["refinement"] is not None:
        print(report["refinement"]["because"])


def _difference(name: str, value: float, found: Dict[str, Any]) -> str:
    low, high = found["interval_95"]
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}) {name}"


if __name__ == "__main__":
    main()
