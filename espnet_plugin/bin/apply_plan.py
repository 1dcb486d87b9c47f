"""Edit a speech encoder as a block plan says, and save the smaller one.

::

    python -m espnet_plugin.bin.apply_plan --model wav2vec_small.pt --plan plan.yaml --out edited.pt
    python -m espnet_plugin.bin.apply_plan --model exp/asr --plan plan.yaml --out_exp exp/asr_edited
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Optional, Sequence


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Edit a speech encoder as a block plan says, and save it"
    )
    parser.add_argument(
        "--model", required=True, help="checkpoint or directory, whatever load_stack reads"
    )
    parser.add_argument("--plan", required=True, help="YAML; see docs/block_plan.md")
    out = parser.add_mutually_exclusive_group(required=True)
    out.add_argument("--out", help="file: the edited stack, for load_stack")
    out.add_argument(
        "--out_exp",
        help="directory: the experiment --model with the edited stack as its encoder, "
        "to decode and to train further",
    )
    parser.add_argument("--checkpoint", help="of --out_exp: model file in --model")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="--out_exp may hold another model, which goes",
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command; a table of what the edit changed goes to standard output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    import torch

    from espnet_plugin.stacks.asr import stack_of, write_experiment
    from espnet_plugin.stacks.experiment import load_experiment
    from espnet_plugin.stacks.load import load_stack
    from espnet_plugin.stacks.untrained import CHECKPOINT
    from espnet_plugin.surgery.apply import apply_plan
    from espnet_plugin.surgery.plan import BlockPlan

    try:
        plan = BlockPlan.load(args.plan)  # before the model, which takes longer
        torch.manual_seed(0)  # mimics begin with random parameters
        if args.out is not None:
            stack = load_stack(args.model)
            edited = apply_plan(stack, plan)
            edited.save(args.out)
            written = Path(args.out)
        else:
            experiment = load_experiment(args.model, args.checkpoint)
            stack = stack_of(experiment)
            edited = apply_plan(stack, plan)
            write_experiment(experiment, edited, args.out_exp, args.overwrite)
            written = Path(args.out_exp) / CHECKPOINT
    except (OSError, ValueError) as error:
        sys.exit(f"apply_plan: {error}")
    print("| | before | after |\n|---|---|---|")
    for name, count in (
        ("blocks", lambda s: len(s.blocks)),
        ("parameters (M)", lambda s: f"{sum(p.numel() for p in s.parameters()) / 1e6:.3f}"),
    ):
        print(f"| {name} | {count(stack)} | {count(edited)} |")
    logging.info("%s: %.1f MB", written, written.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
