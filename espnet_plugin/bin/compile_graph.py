"""Compile a decoding graph (H, HL or HLG), or a grammar G for lattice rescoring."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Optional, Sequence

from espnet_plugin.decode.graph.compile import KINDS, compile_graph
from espnet_plugin.decode.graph.topology import TOPOLOGIES


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--lang_dir", required=True, help="what prepare_lang wrote")
    parser.add_argument(
        "--out", required=True, help="the graph's file; not made again from the same inputs"
    )
    parser.add_argument("--kind", default="HLG", choices=KINDS)
    parser.add_argument("--topology", default="standard", choices=TOPOLOGIES)
    parser.add_argument("--arpa", help="language model of HLG and G, plain or gzip")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    try:
        compile_graph(args.lang_dir, args.out, args.kind, args.topology, args.arpa)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"compile_graph: {error}")


if __name__ == "__main__":
    main()
