"""Which blocks of a stack attend abnormally.

::

    python -m espnet_plugin.bin.diagnose --model exp/asr --data_dir data/dev --out diagnosis.json
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any, Dict, Optional, Sequence

from espnet_plugin.primitives import bound_primitives


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Find the blocks whose attention is abnormal among their neighbours",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="whatever load_stack reads")
    parser.add_argument("--data_dir", required=True, help="Kaldi directory with wav.scp")
    parser.add_argument("--out", required=True, help="JSON; see docs/diagnosis.md")
    parser.add_argument("--labels", nargs="*", default=[], help="patterns that are abnormal")
    parser.add_argument("--times", type=float, default=5.0, help="margin, in robust deviations")
    parser.add_argument("--least", type=float, default=0.4, help="margin, not below this")
    parser.add_argument(
        "--at_least",
        type=int,
        default=0,
        help="name so many blocks as candidates, the most deviating ones, abnormal or not",
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="speech in one batch")
    parser.add_argument("--num_threads", type=int, default=2, help="processor threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command; a table goes to standard output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    bound_primitives()
    try:
        found = _diagnose(args)
    except (OSError, ValueError) as error:
        sys.exit(f"diagnose: {error}")
    print("| block | pattern | global | vertical | diagonal | deviation / margin |")
    print("|---|---|---|---|---|---|")
    for block in found["blocks"]:
        cells = [f"{block['scores'][name]:.3f}" for name in block["scores"]]
        cells = [str(block["block"]), block["label"], *cells, f"{block['deviation']:.2f}"]
        print(f"| {' | '.join(cells)} |")
    for flag in found["flags"]:
        print(f"block {flag['block']} is abnormal ({flag['rule']}): {flag['figures']}")


def _diagnose(args: argparse.Namespace) -> Dict[str, Any]:
    import torch

    from espnet_plugin.analysis.block_pattern import PATTERNS, Patterns
    from espnet_plugin.analysis.diagnosis import diagnose
    from espnet_plugin.analysis.run import Pass
    from espnet_plugin.analysis.subject import load_subject
    from espnet_plugin.atomic import write_json
    from espnet_plugin.progress import progress
    from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch

    torch.set_num_threads(args.num_threads)
    subject = load_subject(args.model, device=args.device)
    done = Patterns(subject.leaders)
    utterances = list_utterances(args.data_dir, subject.rate)
    run = Pass(subject, [done], utterances[0].rate)
    for batch in progress(plan_batches(utterances, args.batch_seconds), "diagnose (batches)"):
        run.update(read_batch(batch))
    patterns = done.patterns()
    diagnosis = diagnose(patterns, args.labels, times=args.times, least=args.least)
    candidates = diagnosis.abnormal
    if len(candidates) < args.at_least:
        candidates = diagnosis.most_deviating(args.at_least)
    blocks = [
        {
            "block": place,
            "label": pattern.label,
            "scores": dict(zip(PATTERNS, pattern.scores, strict=True)),
            "intervals_95": dict(zip(PATTERNS, pattern.intervals, strict=True)),
            "deviation": diagnosis.deviation[place],
        }
        for place, pattern in patterns.items()
    ]
    found = {
        "schema": "espnet_plugin/diagnosis/1",
        "model": str(args.model),
        "family": subject.family,
        "stack_blocks": subject.blocks,
        "data": {"directory": str(args.data_dir), "utterances": len(done.values()[0])},
        "rule": {"times": args.times, "least": args.least, "labels": list(args.labels)},
        "blocks": blocks,
        "flags": [flag._asdict() for flag in diagnosis.flags],
        "abnormal": diagnosis.abnormal,
        "candidates": candidates,
    }
    write_json(args.out, found)
    return found


if __name__ == "__main__":
    main()
