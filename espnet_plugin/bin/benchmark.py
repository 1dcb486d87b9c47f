"""Models side by side: parameters, operations, speed and memory of their encoders.

    python -m espnet_plugin.bin.benchmark --model exp/asr_conformer wav2vec_small.pt edited.pt \\
        --data_dir data/test --output_dir exp/benchmark
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import torch

from espnet_plugin.atomic import atomic_open, write_json
from espnet_plugin.benchmark.figure import plot_benchmark
from espnet_plugin.benchmark.measure import measure
from espnet_plugin.benchmark.models import BenchmarkError, open_models
from espnet_plugin.benchmark.tables import markdown
from espnet_plugin.stacks.batches import DataError
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import ExperimentError

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="Models side by side: parameters, operations, speed and memory",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--model",
        "--exp_dir",
        nargs="+",
        action="extend",
        required=True,
        help="experiments, and any other path that load_stack reads (docs/stacks.md), edited "
        "stacks too; ratios are to the first",
    )
    parser.add_argument("--name", nargs="+", help="of the models; the files' by default")
    parser.add_argument(
        "--checkpoint", help="file in every experiment; the best average by default"
    )
    parser.add_argument("--data_dir", required=True, help="Kaldi directory: the speech to run on")
    parser.add_argument("--output_dir", required=True, help="benchmark.md, .json and .png")
    parser.add_argument(
        "--seconds", nargs="+", type=float, default=[5.0, 15.0, 30.0], help="lengths of utterances"
    )
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8], help="utterances at once")
    parser.add_argument("--repeats", type=int, default=9, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="1: on the GPU")
    return parser


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Measure everything; give the content of ``benchmark.json``.

    Raises:
        BenchmarkError, ExperimentError, StackError, DataError: one line that names what cannot be
            used.
    """
    for name in ("seconds", "batch", "repeats", "threads"):
        value = getattr(args, name)
        if min(value if isinstance(value, list) else [value]) <= 0:
            raise BenchmarkError(f"--{name} must be more than 0")
    if args.ngpu and not torch.cuda.is_available():
        raise BenchmarkError("--ngpu 1: torch sees no GPU here")
    torch.set_num_threads(args.threads)
    device = "cuda" if args.ngpu else "cpu"
    models = open_models(args.model, args.name, args.checkpoint, device)
    return measure(models, args.data_dir, args.seconds, args.batch, args.repeats, device)


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    try:
        result = run(args)
    except (BenchmarkError, ExperimentError, StackError, DataError) as error:
        sys.exit(f"benchmark: {error}")
    folder, page = Path(args.output_dir), markdown(result)
    with atomic_open(folder / "benchmark.md") as stream:
        stream.write(page)
    write_json(folder / "benchmark.json", result)
    try:
        plot_benchmark(result, folder / "benchmark.png")
    except ImportError as error:
        logger.warning("no benchmark.png: %s", error)
    print(page, end="")


if __name__ == "__main__":
    main()
