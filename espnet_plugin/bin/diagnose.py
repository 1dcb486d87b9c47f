"""Which blocks of an encoder attend abnormally.

::

    python -m espnet_plugin.bin.diagnose --model exp/asr --data data/dev --out diagnosis.json
    python -m espnet_plugin.bin.diagnose --analysis exp/asr/analysis --out diagnosis.json
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

from espnet_plugin.analysis.blocks.diagnosis import DECADES, LEAST, TIMES
from espnet_plugin.primitives import bound_primitives

if TYPE_CHECKING:
    from espnet_plugin.analysis.blocks.diagnosis_file import Measured


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Find the blocks whose attention is abnormal among their neighbours",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="ESPnet experiment, or whatever load_stack reads")
    source.add_argument(
        "--analysis", help="directory of espnet_plugin.bin.analyze, with the measure patterns"
    )
    parser.add_argument(
        "--data",
        help="Kaldi directory with wav.scp, or file of lhotse cuts; for --model",
    )
    parser.add_argument("--out", required=True, help="JSON; see docs/diagnosis.md")
    parser.add_argument("--labels", nargs="*", default=[], help="patterns that are abnormal")
    parser.add_argument("--times", type=float, default=TIMES, help="margin, in robust deviations")
    parser.add_argument("--least", type=float, default=LEAST, help="margin, not below this")
    parser.add_argument(
        "--decades",
        type=float,
        default=DECADES,
        help="least margin of how near a pure pattern is: 1 means ten times as near",
    )
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
    from espnet_plugin.analysis.blocks.diagnosis_file import describe, read_patterns
    from espnet_plugin.atomic import write_json

    if args.analysis is None and args.data is None:
        raise ValueError("--model needs --data")
    measured = _measure(args) if args.analysis is None else read_patterns(args.analysis)
    rule = (args.labels, args.times, args.least, args.decades)
    found = describe(measured, *rule, at_least=args.at_least)
    write_json(args.out, found)
    return found


def _measure(args: argparse.Namespace) -> Measured:
    import torch

    from espnet_plugin.analysis.blocks.block_pattern import Patterns
    from espnet_plugin.analysis.blocks.diagnosis_file import Measured
    from espnet_plugin.analysis.suite.run import Pass
    from espnet_plugin.analysis.suite.subject import load_subject
    from espnet_plugin.progress import progress
    from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch

    torch.set_num_threads(args.num_threads)
    subject = load_subject(args.model, device=args.device)
    done = Patterns(subject.leaders)
    utterances = list_utterances(args.data, subject.rate)
    run = Pass(subject, [done], utterances[0].rate)
    for batch in progress(plan_batches(utterances, args.batch_seconds), "diagnose (batches)"):
        run.update(read_batch(batch))
    patterns, count = done.patterns(), len(done.values()[0])
    return Measured(
        str(args.model), subject.family, subject.blocks, str(args.data), count, patterns
    )


if __name__ == "__main__":
    main()
