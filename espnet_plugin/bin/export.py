"""Write a stack, edited or not, or a trained model with its CTC layer, as an ONNX graph.

::

    python -m espnet_plugin.bin.export --model edited.pt --out edited.onnx
    python -m espnet_plugin.bin.export --model exp/asr_pruned --out asr.onnx --ctc
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
        description="Write a speech encoder as an ONNX graph and compare the two in onnxruntime"
    )
    parser.add_argument(
        "--model", required=True, help="checkpoint or directory, whatever load_stack reads"
    )
    parser.add_argument("--out", required=True, help="the graph, .onnx")
    parser.add_argument(
        "--ctc",
        action="store_true",
        help="CTC posteriors and not hidden states; --model is an ESPnet experiment",
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command; a table of how far the graph is from the model goes to standard output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    from espnet_plugin.export.graph import export_stack
    from espnet_plugin.stacks.asr import stack_of
    from espnet_plugin.stacks.experiment import load_experiment
    from espnet_plugin.stacks.load import load_stack

    try:
        experiment = load_experiment(args.model) if args.ctc else None
        stack = load_stack(args.model) if experiment is None else stack_of(experiment)
        differences = export_stack(stack, args.out, experiment)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"export: {error}")
    print("| frames | largest difference | largest output |\n|---|---|---|")
    for one in differences:
        print(f"| {', '.join(map(str, one.frames))} | {one.largest:.1e} | {one.size:.2g} |")
    logging.info("%s: %.1f MB", args.out, Path(args.out).stat().st_size / 1e6)


if __name__ == "__main__":
    main()
