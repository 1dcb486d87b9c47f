"""CTC forced alignment of a corpus, to lhotse alignments and CTM.

Tokens and words of a Kaldi directory or a cuts manifest::

    python -m espnet_plugin.bin.align --exp_dir exp/asr_conformer --data data/test --out exp/align

Phones and words, with a model whose tokens are phones; variants and silences are chosen::

    python -m espnet_plugin.bin.align --exp_dir exp/phone --data data/test --out exp/align \\
        --lexicon lexicon.txt --silence SIL --reference data/manifests/test_cuts.jsonl.gz
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

from espnet_plugin.primitives import bound_primitives

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="CTC forced alignment of a corpus, to lhotse alignments and CTM",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="Kaldi directory, or manifest of cuts")
    parser.add_argument("--out", required=True, help="where the results go")
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="1: on the GPU")
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="padding included")
    parser.add_argument("--batch_size", type=int, help="most utterances of a batch")

    group = parser.add_argument_group("Model")
    group.add_argument("--exp_dir", required=True, help="directory that ESPnet's training wrote")
    group.add_argument("--checkpoint", help="file in --exp_dir; the best average by default")
    group.add_argument("--token_type", help="instead of the configuration's")
    group.add_argument("--bpemodel", help="instead of the configuration's")
    group.add_argument("--lexicon", help="lines of a word and its phones, the model's tokens")
    group.add_argument("--silence", help="with --lexicon: token that may stand between words")

    group = parser.add_argument_group("Boundaries (docs/alignment.md)")
    group.add_argument("--split", type=float, help="share of a gap that the first gets; 0.5")
    group.add_argument("--reach", type=float, help="seconds beyond a spike at most; 0.06")
    group.add_argument("--shift", type=float, help="seconds added to every time; 0")
    group.add_argument("--timing", help="JSON of these three, from --calibrate; options go first")
    group.add_argument("--reference", help="manifest with true alignments: report the errors")
    group.add_argument(
        "--calibrate",
        metavar="LEVEL",
        help="find the three on --reference's level (word, phone); written to OUT/timing.json",
    )
    return parser


def setup(args: argparse.Namespace) -> Dict[str, Any]:
    """Everything that the options name, loaded and checked.

    Raises:
        ValueError, ImportError, FileNotFoundError: one line that names what is wrong.
    """
    from espnet_plugin.compat import require_k2
    from espnet_plugin.decode.align.aligner import CtcAligner
    from espnet_plugin.decode.align.boundaries import read_reference
    from espnet_plugin.decode.align.source import read_source
    from espnet_plugin.decode.align.timing import frame_seconds
    from espnet_plugin.decode.align.units import LexiconUnits, TokenUnits
    from espnet_plugin.decode.data import model_rate
    from espnet_plugin.decode.lang.lexicon import read_lexicon
    from espnet_plugin.decode.text import find_bpemodel
    from espnet_plugin.stacks.experiment import load_experiment

    require_k2()
    if args.silence is not None and args.lexicon is None:
        raise ValueError("--silence belongs to --lexicon")
    if args.calibrate is not None and args.reference is None:
        raise ValueError("--calibrate needs --reference")
    reference = read_reference(args.reference) if args.reference else None
    if args.calibrate is not None and args.calibrate not in (reference or {}):
        raise ValueError(f"--calibrate {args.calibrate}: {args.reference} has no such level")
    timing = read_timing(args)
    experiment = load_experiment(args.exp_dir, args.checkpoint, "cuda" if args.ngpu else "cpu")
    config, tokens = experiment.args, experiment.token_list
    units: Any
    if args.lexicon is not None:
        units = LexiconUnits(read_lexicon(args.lexicon, tokens), tokens, args.silence)
    else:
        bpemodel = args.bpemodel or find_bpemodel(
            getattr(config, "bpemodel", None), experiment.directory
        )
        cleaner = getattr(config, "cleaner", None)
        units = TokenUnits(tokens, args.token_type or config.token_type, bpemodel, cleaner)
    rate = model_rate(config)
    if rate is None:
        raise ValueError(f"{args.exp_dir}/config.yaml: no frontend_conf.fs; is its input speech?")
    spoken, unusable = read_source(args.data, rate)
    files = (experiment.checkpoint, args.lexicon)
    seconds = frame_seconds(experiment.model, rate)
    return {
        "aligner": CtcAligner(experiment.model, tokens, units, round(seconds * rate)),
        "spoken": spoken,
        "unusable": unusable,
        "timing": timing,
        "reference": reference,
        "frame_seconds": seconds,
        "job": [
            *([str(path), Path(path).stat().st_mtime_ns] for path in files if path),
            [args.silence, args.token_type, args.bpemodel],
        ],
    }


def read_timing(args: argparse.Namespace) -> Any:
    """The boundary rule: options, else ``--timing``, else the defaults.

    Raises:
        ValueError: the file or a value is not usable.
    """
    from espnet_plugin.decode.align.timing import Timing

    values: Dict[str, float] = {}
    if args.timing is not None:
        try:
            values = json.loads(Path(args.timing).read_text(encoding="utf-8"))
            Timing(**values)
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"--timing {args.timing}: {error}") from None
    for name in ("split", "reach", "shift"):
        if getattr(args, name) is not None:
            values[name] = getattr(args, name)
    return Timing(**values)


def run(args: argparse.Namespace) -> Tuple[Dict[str, Any], str]:
    """Align, write, compare; the content of ``summary.json`` and the table of errors."""
    from espnet_plugin.atomic import write_json
    from espnet_plugin.decode.align import boundaries
    from espnet_plugin.decode.align.calibrate import calibrate
    from espnet_plugin.decode.align.corpus import align_corpus, timed, write_alignments

    given = setup(args)
    aligner, spoken, timing = given["aligner"], given["spoken"], given["timing"]
    level, seconds = aligner.units.level, given["frame_seconds"]
    out = Path(args.out)
    aligned, failed = align_corpus(
        aligner, spoken, out, args.batch_seconds, args.batch_size, given["job"]
    )
    failed = {**given["unusable"], **failed}
    reference = given["reference"]
    if args.calibrate is not None:
        true = reference[args.calibrate]
        timing = calibrate(aligned, spoken, seconds, args.calibrate, true, level)
        write_json(out / "timing.json", asdict(timing))
    items = timed(aligned, spoken, timing, seconds, level)
    write_alignments(out, spoken, items, failed)
    errors = {}
    for name in (level, "word"):
        if reference is not None and name in reference:
            found = boundaries.intervals(items, name)
            true = {utterance: reference[name].get(utterance, []) for utterance in found}
            units = sum(map(len, true.values()))
            errors[name] = boundaries.summary(boundaries.differences(found, true), units)
    summary = {
        "utterances": len(spoken) + len(given["unusable"]),
        "aligned": len(aligned),
        "failed": failed,
        "levels": [level, "word"],
        "frame_seconds": seconds,
        "timing": asdict(timing),
        "boundary_errors": errors,
    }
    write_json(out / "summary.json", summary)
    return summary, boundaries.table(errors) if errors else ""


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    bound_primitives()
    try:
        summary, table = run(args)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"align: {error}")
    for name, reason in summary["failed"].items():
        logger.error("%s: not aligned: %s", name, reason)
    timing = ", ".join(f"{name} {value:g}" for name, value in summary["timing"].items())
    print(f"{summary['aligned']} of {summary['utterances']} utterances aligned, in {args.out}")
    print(f"boundaries: {timing}; a frame is {1000 * summary['frame_seconds']:g} ms")
    print(table, end="")


if __name__ == "__main__":
    main()
