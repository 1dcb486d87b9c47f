"""Measure what the heads and blocks of a speech encoder do, over a data set.

::

    python -m espnet_plugin.bin.analyze --model exp/asr --data dump/raw/test --out exp/asr/analysis
    python -m espnet_plugin.bin.analyze --model wav2vec_small.pt --data data/test_cuts.jsonl.gz \\
        --measures attention patterns --out analysis
    for n in 1 2 3 4; do
        python -m espnet_plugin.bin.analyze … --out analysis --num_shards 4 --shard $n
    done
    python -m espnet_plugin.bin.analyze … --out analysis --num_shards 4 --merge
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from typing import Any, Dict, List, Optional, Sequence

from espnet_plugin.analysis.suite.registry import MEASURES
from espnet_plugin.primitives import bound_primitives

_ABOUT_THE_RUN = (
    *("model", "checkpoint", "data", "measures", "out", "overwrite"),
    *("num_shards", "shard", "merge"),
    *("num_threads", "device", "save_seconds"),
)
"""Options that results do not depend on, or that are told in another way."""


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    names = "\n".join(
        f"  {name:18s} {entry.help}{'' if entry.default else ' (only if named)'}"
        for name, entry in MEASURES.items()
    )
    examples = __doc__.partition("::\n\n")[2] if __doc__ else ""
    parser = argparse.ArgumentParser(
        description="Measure what the heads and blocks of a speech encoder do; see "
        "docs/analysis.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"measures:\n{names}\n\n{examples}",
    )
    parser.add_argument(
        "--model", required=True, help="ESPnet experiment, or whatever load_stack reads"
    )
    parser.add_argument("--checkpoint", help="file in the experiment (default: average or best)")
    parser.add_argument("--data", required=True, help="Kaldi directory, or file of lhotse cuts")
    parser.add_argument(
        "--measures",
        nargs="+",
        metavar="NAME",
        help="see below (default: all; those that need alignments only with --alignments)",
    )
    parser.add_argument(
        "--alignments", help="phones: directory of TextGrids, or lhotse cuts or supervisions"
    )
    parser.add_argument("--out", required=True, help="directory for the results")
    parser.add_argument(
        "--overwrite", action="store_true", help="remove results of another model or data in --out"
    )
    parser.add_argument(
        "--batch_seconds",
        type=float,
        default=60.0,
        help="speech in one batch, padding included (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--num_threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")

    group = parser.add_argument_group("similarity of hidden states")
    group.add_argument(
        "--similarity_samples",
        choices=["frames", "utterances"],
        default="frames",
        help="what is compared: frames, or each utterance's mean (default: %(default)s)",
    )
    group.add_argument(
        "--neighbours", type=int, default=10, help="k of mutual k-NN (default: %(default)s)"
    )
    group.add_argument(
        "--neighbour_sweep",
        type=int,
        nargs="*",
        default=[1, 2, 5, 10, 20, 50],
        metavar="K",
        help="further k (default: 1 2 5 10 20 50)",
    )
    group.add_argument(
        "--similarity_utterances",
        type=int,
        default=1000,
        help="utterances that are kept to be compared, if these are the samples "
        "(default: %(default)s)",
    )

    group = parser.add_argument_group("examples")
    group.add_argument(
        "--examples",
        nargs="+",
        default=["3"],
        metavar="N",
        help="utterances to look at: how many, spread over the lengths, or their ids (default: 3)",
    )
    group.add_argument(
        "--examples_megabytes",
        type=float,
        default=9.0,
        help="what their pictures take at most (default: %(default)s)",
    )

    group = parser.add_argument_group("phonemes (docs/phonemes.md)")
    group.add_argument(
        "--stress", action="store_true", help="a class for each stress of a vowel, not one"
    )
    group.add_argument(
        "--segmentation_alpha",
        type=float,
        nargs="+",
        metavar="A",
        help="to choose α from, in mean distances (default: 0.5 1)",
    )
    group.add_argument(
        "--segmentation_beta",
        type=float,
        nargs="+",
        metavar="B",
        help="to choose β from (default: 1 1.15 1.3 1.5 2)",
    )

    group = parser.add_argument_group("probes")
    group.add_argument(
        "--probe_frames",
        type=int,
        default=10000,
        help="frames that are drawn for phones from all utterances, about; states × width × 4 "
        "bytes each (default: %(default)s)",
    )
    group.add_argument(
        "--probe_by",
        choices=["utterance", "speaker"],
        default="utterance",
        help="what is tested was not learned from: other utterances, or other speakers' "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--phone_probe_parts",
        type=int,
        default=1,
        choices=[1, 2, 3, 4, 5],
        help="of five parts of the utterances, how many are tested, each with a probe of the "
        "others (default: %(default)s)",
    )

    group = parser.add_argument_group("in parts")
    group.add_argument("--num_shards", type=int, help="how many parts the data is measured in")
    group.add_argument("--shard", type=int, help="measure only this part, from 1; then --merge")
    group.add_argument("--merge", action="store_true", help="results from all parts")
    group.add_argument(
        "--save_seconds",
        type=float,
        default=60.0,
        help="time after which what was measured is saved, to go on from after a kill "
        "(default: %(default)s)",
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    bound_primitives()
    try:
        _analyze(args)
    except (ImportError, OSError, ValueError, TypeError) as error:
        sys.exit(f"analyze: {error}")


def _analyze(args: argparse.Namespace) -> None:
    import torch

    from espnet_plugin.analysis.suite.measure import Context
    from espnet_plugin.analysis.suite.registry import default_measures, make_measures
    from espnet_plugin.analysis.suite.results import check_directory, write_results
    from espnet_plugin.analysis.suite.run import Pass
    from espnet_plugin.analysis.suite.shards import merge_shards, remove_shards, run_shard
    from espnet_plugin.analysis.suite.subject import load_subject
    from espnet_plugin.stacks.batches import DataError, list_utterances, plan_batches

    num_shards = args.num_shards
    if args.shard is not None and (args.merge or num_shards is None):
        raise ValueError("--shard needs --num_shards, and goes without --merge")
    if (num_shards or 1) < 1:
        raise ValueError(f"--num_shards must be at least 1, not {num_shards}")
    if (num_shards or 1) > 1 and args.shard is None and not args.merge:
        raise ValueError("--num_shards: measure each --shard, then --merge them")
    torch.set_num_threads(args.num_threads)
    names = args.measures or default_measures(args.alignments is not None)
    subject = load_subject(args.model, args.checkpoint, args.device)
    utterances = list_utterances(args.data, subject.rate)
    rates = sorted({utterance.rate for utterance in utterances})
    if len(rates) > 1:
        raise DataError(f"{args.data}: recordings of several rates: {rates}")
    context = Context(subject, str(args.data), utterances, _labels(args), vars(args))
    batches = plan_batches(utterances, args.batch_seconds)
    options = {k: v for k, v in sorted(vars(args).items()) if k not in _ABOUT_THE_RUN}
    model, data = subject.describe(), _describe(args.data, utterances)
    if not args.overwrite:
        check_directory(args.out, model, data)
    identity = {
        "the version of espnet_plugin": _version(),
        "the model": model["sha256"],
        "the data": data["sha256"],
        "the list of measures": sorted(names),
        **{f"--{key}": value for key, value in options.items()},
    }

    def fresh() -> Pass:
        return Pass(subject, make_measures(names, context), rates[0])

    if args.merge:
        run = merge_shards(fresh, batches, args.out, identity, num_shards)
    else:
        run, where = fresh(), (args.shard or 1, num_shards or 1)
        run_shard(run, batches, args.out, identity, *where, args.save_seconds)
        if args.shard is not None:
            logging.info("shard %d of %d is measured; --merge makes the results", *where)
            return
    if run.utterances != len(utterances):
        raise DataError(f"{args.data}: {run.utterances} of {len(utterances)} were measured")
    data["frames"] = run.frames
    for path in write_results(args.out, run.measures, model, data, options):
        logging.info("%s: %d utterances", path, run.utterances)
    remove_shards(args.out)


def _labels(args: argparse.Namespace) -> Any:
    if args.alignments is None:
        return None
    from espnet_plugin.analysis.phonemes.labels import FOLDED, STRESSED, PhoneLabels

    return PhoneLabels.read(args.alignments, STRESSED if args.stress else FOLDED)


def _describe(source: str, utterances: List[Any]) -> Dict[str, Any]:
    lines = (f"{u.utt_id} {u.start or 0} {u.samples} {u.rate}\n" for u in utterances)
    return {
        "directory": str(source),
        "utterances": len(utterances),
        "seconds": sum(u.samples for u in utterances) / utterances[0].rate,
        "rate": utterances[0].rate,
        "sha256": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(),
    }


def _version() -> str:
    from espnet_plugin.version import __version__

    return __version__


if __name__ == "__main__":
    main()
