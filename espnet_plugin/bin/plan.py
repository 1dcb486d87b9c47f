"""Propose a block plan that reuses attention maps, from an attention analysis."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Optional, Sequence

from espnet_plugin.analysis.attention_report import load_report
from espnet_plugin.analysis.propose import propose_reuse


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Give --theta, --group_size, or --num_groups and/or --min_group."
    )
    parser.add_argument("--analysis", required=True, help="attention.json")
    parser.add_argument("--out", required=True, help="the plan to write (YAML)")
    parser.add_argument(
        "--theta",
        type=float,
        help="grow each group while the mean similarity of its maps is at least this (0 to 1)",
    )
    parser.add_argument("--group_size", type=int, help="groups of so many blocks, in order")
    parser.add_argument("--num_groups", type=int, help="so many groups, as alike as possible")
    parser.add_argument(
        "--min_group", type=int, help="least blocks of a group, as alike as possible"
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    try:
        plan = propose_reuse(
            load_report(args.analysis),
            args.theta,
            args.group_size,
            args.num_groups,
            args.min_group,
        )
        plan.save(args.out)
    except (OSError, ValueError) as error:
        sys.exit(f"plan: {error}")
    logging.info("%s: reuse groups %s", args.out, plan.reuse_groups())


if __name__ == "__main__":
    main()
