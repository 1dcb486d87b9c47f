#!/usr/bin/env python3
"""Time reuse_conformer against the installed ESPnet's ConformerEncoder, side by side.

The encoders take turns in one process, so that a change of the machine's load meets all of them.
A ratio is the median of the ratios of single turns; the range after it holds their middle half.
With ``--sdpa`` an ESPnet encoder with ``use_sdpa: true`` (ESPnet 202611) takes part too.

    python tools/bench/reuse_conformer.py --lengths 5 15 30 60 --batch 1 8 --json out.json
"""

from __future__ import annotations

import argparse
import inspect
import logging
import platform
import statistics
import time
from importlib.metadata import version
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from torch import Tensor, nn

from espnet_plugin.atomic import write_json
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder

FRAMES_PER_SECOND = 100
FEATURES = 80
MEDIUM: Dict[str, Any] = dict(
    input_size=FEATURES,
    output_size=256,
    attention_heads=4,
    linear_units=1024,
    num_blocks=16,
    dropout_rate=0.1,
    positional_dropout_rate=0.1,
    attention_dropout_rate=0.1,
    macaron_style=True,
    rel_pos_type="latest",
    cnn_module_kernel=31,
)


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=float, nargs="+", default=[5, 15, 30, 60], help="seconds")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--groups", type=int, default=4, help="size of the reuse groups")
    parser.add_argument("--blocks", type=int, default=MEDIUM["num_blocks"])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns per measurement")
    parser.add_argument("--sdpa", action="store_true", help="also ESPnet with use_sdpa: true")
    parser.add_argument(
        "--padded", action="store_true", help="utterances of a batch differ in length, 60 to 100 %%"
    )
    parser.add_argument(
        "--max_training_seconds",
        type=float,
        default=240,
        help="leave out training steps with more speech than this in a batch, for memory",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float64", "bfloat16"], default="float32")
    parser.add_argument("--json", help="write the figures here too")
    return parser


def build(groups: int, blocks: int, sdpa: bool) -> Dict[str, ConformerEncoder]:
    """The encoders that are compared; those of the same shape have the same weights."""
    shape = dict(MEDIUM, num_blocks=blocks)
    encoders = {"ESPnet": ConformerEncoder(**shape)}
    if sdpa:
        if "use_sdpa" not in inspect.signature(ConformerEncoder.__init__).parameters:
            raise SystemExit("--sdpa: the installed ESPnet's ConformerEncoder has no use_sdpa")
        encoders["ESPnet sdpa"] = ConformerEncoder(**shape, use_sdpa=True)
    encoders["reuse"] = ReuseConformerEncoder(**shape, reuse_groups=groups)
    state = encoders["ESPnet"].state_dict()
    for encoder in encoders.values():
        encoder.load_state_dict(state)
    return encoders


def inference(encoder: nn.Module, feats: Tensor, lengths: Tensor) -> Callable[[], Any]:
    """One pass without gradients."""
    encoder.eval()

    def run() -> None:
        with torch.no_grad():
            encoder(feats, lengths)

    return run


def training(encoder: nn.Module, feats: Tensor, lengths: Tensor) -> Callable[[], Any]:
    """Forward, backward and an AdamW step."""
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-6)

    def run() -> None:
        optimizer.zero_grad()
        encoder(feats, lengths)[0].square().mean().backward()
        optimizer.step()

    return run


MODES = {"inference": inference, "training": training}


def take_turns(
    runs: Dict[str, Callable[[], Any]], repeats: int, device: str
) -> Dict[str, Dict[str, Any]]:
    """Seconds of every turn, and the peak of GPU memory in GiB, per name."""
    seconds: Dict[str, List[float]] = {name: [] for name in runs}
    peaks: Dict[str, float] = {}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
                peaks[name] = torch.cuda.max_memory_allocated() / 2**30
            if turn > 0:  # the first is warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: {"seconds": seconds[name], "peak_gib": peaks.get(name)} for name in runs}


def compare(measured: Dict[str, Dict[str, Any]], name: str) -> Dict[str, float]:
    """How many times faster reuse is than ``name``: median and middle half over the turns."""
    theirs, ours = measured[name]["seconds"], measured["reuse"]["seconds"]
    turns = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    quarter = len(turns) // 4
    return {
        "ratio": statistics.median(turns),
        "low": turns[quarter],
        "high": turns[-1 - quarter],
    }


def largest_difference(encoder: nn.Module, feats: Tensor, lengths: Tensor) -> float:
    """Largest difference of the fast and the plain path, relative to the largest output."""
    encoder.eval()
    encoder.requires_grad_(False)
    with torch.no_grad():
        fast = encoder(feats, lengths)[0]
    with torch.enable_grad():
        plain = encoder(feats, lengths)[0]
    encoder.requires_grad_(True)
    return float((fast - plain).abs().max() / plain.abs().max())


def row(result: Dict[str, Any], names: Sequence[str]) -> str:
    """One line of the markdown table."""
    cells = [result["mode"], str(result["batch"]), f"{result['length']:g}"]
    cells += [f"{1000 * result['median'][name]:.1f}" for name in names]
    for name in names[:-1]:
        ratio = result["ratios"][name]
        cells.append(f"{ratio['ratio']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})")
    if result["difference"] is not None:
        cells.append(f"{result['difference']:.0e}")
    else:
        cells.append("")
    if any(result["peak_gib"].values()):
        cells += [f"{result['peak_gib'][name]:.2f}" for name in names]
    return "| " + " | ".join(cells) + " |"


def header(names: Sequence[str], device: str) -> str:
    """The head of the markdown table."""
    cells = ["mode", "batch", "s"] + [f"{name}, ms" for name in names]
    cells += [f"× {name}" for name in names[:-1]] + ["fast − plain"]
    if device == "cuda":
        cells += [f"{name}, GiB" for name in names]
    return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)


def environment(device: str, threads: int) -> Dict[str, Any]:
    """What the figures depend on."""
    return {
        "espnet": version("espnet"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "threads": threads,
    }


def cpu_name() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    encoders = build(args.groups, args.blocks, args.sdpa)
    for encoder in encoders.values():
        encoder.to(device=args.device, dtype=dtype)
    about = environment(args.device, args.threads)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(header(list(encoders), args.device), flush=True)
    results = []
    for mode in args.mode:
        for batch in args.batch:
            for length in args.lengths:
                if mode == "training" and batch * length > args.max_training_seconds:
                    continue
                frames = int(length * FRAMES_PER_SECOND)
                feats = torch.randn(batch, frames, FEATURES, device=args.device, dtype=dtype)
                share = torch.linspace(1.0, 0.6 if args.padded else 1.0, batch)
                lengths = (share * frames).long().to(args.device)
                difference = None
                if mode == "inference":
                    difference = largest_difference(encoders["reuse"], feats, lengths)
                runs = {n: MODES[mode](e, feats, lengths) for n, e in encoders.items()}
                measured = take_turns(runs, args.repeats, args.device)
                result = {
                    "mode": mode,
                    "batch": batch,
                    "length": length,
                    "median": {n: statistics.median(m["seconds"]) for n, m in measured.items()},
                    "ratios": {n: compare(measured, n) for n in measured if n != "reuse"},
                    "difference": difference,
                    "peak_gib": {n: m["peak_gib"] for n, m in measured.items()},
                }
                results.append(result)
                print(row(result, list(encoders)), flush=True)
    if args.json:
        write_json(args.json, {"environment": about, "options": vars(args), "results": results})


if __name__ == "__main__":
    main()
