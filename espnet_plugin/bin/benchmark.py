"""Models side by side: parameters, operations, speed and memory of their encoders.

    python -m espnet_plugin.bin.benchmark --exp_dir exp/asr_conformer exp/asr_reuse_conformer \\
        --data_dir data/test --output_dir exp/benchmark
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.atomic import atomic_open, write_json
from espnet_plugin.compat import versions
from espnet_plugin.decode.data import model_rate
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import DataError, list_utterances, read_batch
from espnet_plugin.stacks.cost import count_parameters, macs_per_second
from espnet_plugin.stacks.experiment import Experiment, ExperimentError, load_experiment
from espnet_plugin.stacks.timing import (
    encoder_call,
    interleaved_seconds,
    median_ratio,
    peak_bytes,
)

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="Models side by side: parameters, operations, speed and memory",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--exp_dir", nargs="+", required=True, help="experiments; ratios to the 1st"
    )
    parser.add_argument("--name", nargs="+", help="of the models; the folders by default")
    parser.add_argument("--checkpoint", help="file in every --exp_dir; the best average by default")
    parser.add_argument("--data_dir", required=True, help="Kaldi directory: the speech to run on")
    parser.add_argument("--output_dir", required=True, help="benchmark.md and benchmark.json")
    parser.add_argument("--seconds", nargs="+", type=float, default=[5.0, 15.0, 30.0])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8], help="utterances at once")
    parser.add_argument("--repeats", type=int, default=9, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1))
    return parser


def speech_of(
    data_dir: str, seconds: float, batch: int, rate: Optional[int] = None
) -> tuple[Tensor, Tensor, int]:
    """Speech of a directory joined and cut: (batch, S) samples, (batch,) lengths, samples/s.

    It begins again at the start where the directory has too little.

    Raises:
        DataError: a recording that cannot be read, or has not ``rate`` samples/s if that is given.
    """
    utterances = list_utterances(data_dir, rate)
    rate = utterances[0].rate
    samples = round(seconds * rate)
    pieces: List[Tensor] = []
    while sum(map(len, pieces)) < samples * batch:
        _, speech, lengths = read_batch([utterances[len(pieces) % len(utterances)]])
        pieces.append(speech[0, : int(lengths[0])])
    joined = torch.cat(pieces)[: samples * batch].reshape(batch, samples)
    return joined, torch.full((batch,), samples), rate


def sizes(experiments: Dict[str, Experiment], speech: Tensor, rate: int) -> Dict[str, Any]:
    """Per model: parameters, bytes of the checkpoint, operations per second of ``speech``."""
    found = {}
    for name, experiment in experiments.items():
        parts = count_parameters(experiment.model)
        found[name] = {
            "parameters": sum(parts.values()),
            "encoder_parameters": sum(n for p, n in parts.items() if p.startswith("encoder")),
            "parts": parts,
            "checkpoint": str(experiment.checkpoint),
            "checkpoint_bytes": experiment.checkpoint.stat().st_size,
            "macs_per_second": macs_per_second(experiment.model, speech, rate),
        }
    return found


def speeds(
    experiments: Dict[str, Experiment], args: argparse.Namespace, device: str
) -> List[Dict[str, Any]]:
    """One row per length, batch and model: time, real-time factor, ratio to the first, memory."""
    cases = [(seconds, batch) for seconds in args.seconds for batch in args.batch]
    rows = []
    for seconds, batch in progress(cases, "benchmark"):
        speech, lengths, _ = speech_of(args.data_dir, seconds, batch)
        speech, lengths = speech.to(device), lengths.to(device)
        calls = {n: encoder_call(e.model, speech, lengths) for n, e in experiments.items()}
        peaks = {name: peak_bytes(call, device) for name, call in calls.items()}
        times = interleaved_seconds(calls, args.repeats, device)
        first = next(iter(times.values()))
        for name, one in times.items():
            rows.append(
                {
                    "model": name,
                    "seconds": seconds,
                    "batch": batch,
                    "encoder_seconds": median(one),
                    "encoder_rtf": median(one) / (seconds * batch),
                    "speed_ratio": median_ratio(first, one),
                    "peak_bytes": peaks[name],
                }
            )
    return rows


def markdown(result: Dict[str, Any]) -> str:
    """The tables to read."""
    environment = ", ".join(f"{k} {v}" for k, v in result["environment"].items() if v is not None)
    longest = result["macs_seconds"]
    lines = [
        f"Environment: {environment}.",
        "",
        f"|model|parameters (M)|encoder (M)|file (MB)|GMAC per s of speech (at {longest:g} s)|",
        "|---|---|---|---|---|",
    ]
    for name, size in result["models"].items():
        cells = [size["parameters"] / 1e6, size["encoder_parameters"] / 1e6]
        cells += [size["checkpoint_bytes"] / 1e6, size["macs_per_second"] / 1e9]
        lines.append(f"|{name}|" + "|".join(f"{cell:.3f}" for cell in cells) + "|")
    lines += [
        "",
        "|length (s)|batch|model|time (ms)|real-time factor|times as fast|peak memory (MB)|",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["speeds"]:
        lines.append(
            f"|{row['seconds']:g}|{row['batch']}|{row['model']}|{1e3 * row['encoder_seconds']:.1f}"
            f"|{row['encoder_rtf']:.5f}|{row['speed_ratio']:.2f}|{row['peak_bytes'] / 1e6:.0f}|"
        )
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Measure everything; give the content of ``benchmark.json``.

    Raises:
        ExperimentError, DataError: one line that names what cannot be used.
    """
    torch.set_num_threads(args.threads)
    device = "cuda" if args.ngpu else "cpu"
    names = args.name or [Path(directory).resolve().name for directory in args.exp_dir]
    if len(names) != len(args.exp_dir) or len(set(names)) < len(names):
        raise ExperimentError(f"--name: one name per --exp_dir is needed, not {', '.join(names)}")
    experiments = {
        name: load_experiment(directory, args.checkpoint, device)
        for name, directory in zip(names, args.exp_dir, strict=True)
    }
    known = [model_rate(experiment.args) for experiment in experiments.values()]
    rates = {rate for rate in known if rate is not None}
    if len(rates) > 1:
        raise ExperimentError(f"--exp_dir: models of several sampling rates: {sorted(rates)}")
    speech, _, rate = speech_of(args.data_dir, max(args.seconds), 1, *rates)
    return {
        "environment": {
            **versions(),
            "device": torch.cuda.get_device_name() if args.ngpu else platform.machine(),
            "threads": args.threads,
        },
        "macs_seconds": max(args.seconds),
        "models": sizes(experiments, speech.to(device), rate),
        "speeds": speeds(experiments, args, device),
    }


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    try:
        result = run(args)
    except (ExperimentError, DataError) as error:
        sys.exit(f"benchmark: {error}")
    page = markdown(result)
    with atomic_open(Path(args.output_dir) / "benchmark.md") as stream:
        stream.write(page)
    write_json(Path(args.output_dir) / "benchmark.json", result)
    print(page, end="")


if __name__ == "__main__":
    main()
