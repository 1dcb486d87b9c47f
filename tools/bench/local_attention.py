#!/usr/bin/env python3
"""Time attention within a window against attention to every frame, side by side.

Three things are timed in inference, each with and without the window: what softmax and products
cost alone ("attention"), the self-attention module with its projections ("module"), and all the
blocks of the stack ("blocks", from what enters block 0 to the last hidden state). They take turns
in one process, so that a change of the machine's load meets all of them; a ratio is the median of
the ratios of single turns.

    python tools/bench/local_attention.py --family wav2vec2 --window 64 --seconds 60
"""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from dataclasses import replace
from statistics import median
from typing import Any, Dict, List, Optional, Sequence

import torch
from bench_results import add_output_option, markdown_table, write_results
from torch import Tensor

from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.timing import (
    Call,
    interleaved_seconds,
    median_ratio,
    middle_half,
    peak_bytes,
)
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import LocalAttention
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=["wav2vec2", "wavlm", "conformer"], default="wav2vec2")
    parser.add_argument("--window", type=int, nargs="+", default=[64], help="frames to either side")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0])
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns per measurement")
    parser.add_argument("--training", action="store_true", help="forward and backward instead")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    add_output_option(parser)
    return parser


def build(family: str, blocks: int) -> Stack:
    """A stack of the base size (width 768, 12 heads), with parameters of no meaning."""
    if family != "conformer":
        return Wav2Vec2Stack(Wav2Vec2Config.base(family, blocks=blocks, layer_drop=0.0))
    conf = {
        "output_size": 768,
        "attention_heads": 12,
        "linear_units": 3072,
        "num_blocks": blocks,
        "input_layer": "linear",
        "rel_pos_type": "latest",
        "macaron_style": True,
        "cnn_module_kernel": 31,
    }
    none = {f"{part}{end}": None for part in PARTS for end in ("", "_conf")}
    description = {**none, "input_size": 80, "encoder": "conformer", "encoder_conf": conf}
    description.update({f"{part}_conf": {} for part in PARTS}, rate=16000)
    return ConformerStack.build({"config": description})


PARTS = ("frontend", "normalize", "preencoder")


def local(stack: Stack, window: int) -> Stack:
    """``stack`` with a window in every block."""
    count = len(stack.blocks)
    actions = tuple(LocalAttention(block, window) for block in range(count))
    return apply_plan(stack, BlockPlan(StackDescription(stack.family, count), actions))


def entering(stack: Stack, batch: int, frames: int, device: str) -> State:
    """Noise as it enters block 0."""
    if isinstance(stack, Wav2Vec2Stack):
        lengths = torch.full((batch,), frames, device=device)
        return stack.enter(torch.randn(batch, frames, stack.width, device=device), lengths)
    return stack.embed(torch.randn(batch, frames, 80, device=device))


def calls(stack: Stack, state: State, training: bool) -> Dict[str, Call]:
    """What is timed of one stack, by name."""
    state = replace(state, window=stack.windows[0])
    attention: Any = stack.blocks[0].attention
    x = state.x.detach()

    def module() -> Tensor:
        if isinstance(stack, ConformerStack):
            attention.window = state.window
            return attention(x, state.positions, None)[0]
        return attention(x, state)[0]

    def blocks() -> Tensor:
        after = state
        for place in range(len(stack.blocks)):
            after = stack.step(place, after)
        return after.x

    timed = {"module": module, "blocks": blocks}
    if isinstance(stack, Wav2Vec2Stack):
        with torch.no_grad():
            bias = attention.bias(x, state)
            parts = [attention.split(p(x)) for p in (attention.query, attention.key)]
        query, key = (part.detach().requires_grad_(training) for part in parts)
        timed["attention"] = lambda: attention.attend(query, key, query, bias, state)
    return {name: _run(call, training) for name, call in timed.items()}


def _run(call: Any, training: bool) -> Call:
    def run() -> None:
        with nullcontext() if training else torch.no_grad():
            out = call()
        if training:
            out.sum().backward()

    return run


def measure(
    stack: Stack, window: int, frames: int, args: argparse.Namespace
) -> List[Dict[str, Any]]:
    """A row for each thing that is timed."""
    stacks = {"full": stack, "local": local(stack, window)}
    with torch.no_grad():
        state = entering(stack, args.batch, frames, args.device)
    runs: Dict[str, Dict[str, Call]] = {
        n: calls(s, state, args.training) for n, s in stacks.items()
    }
    rows = []
    for what in runs["full"]:
        pair = {name: runs[name][what] for name in stacks}
        seconds = interleaved_seconds(pair, args.repeats, args.device)
        least, most = middle_half(seconds["full"], seconds["local"])
        peaks = {name: peak_bytes(call, args.device) / 2**20 for name, call in pair.items()}
        rows.append(
            {
                "what": what,
                "frames": frames,
                "window": window,
                "full, ms": 1000 * median(seconds["full"]),
                "local, ms": 1000 * median(seconds["local"]),
                "times faster": median_ratio(seconds["full"], seconds["local"]),
                "from": least,
                "to": most,
                "full, MiB": peaks["full"],
                "local, MiB": peaks["local"],
            }
        )
    return rows


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    args = get_parser().parse_args(cmd)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    stack = build(args.family, args.blocks).to(args.device).train(args.training)
    rows = []
    for seconds in args.seconds:
        frames = int((16000 * seconds - 400) // 320) + 1  # 2999 at 60 s, as wav2vec 2.0 has
        for window in args.window:
            rows += measure(stack, window, frames, args)
    load = os.getloadavg()[0]
    print(f"{args.family}, {'training' if args.training else 'inference'}, load {load:.1f}")
    print(markdown_table(rows))
    write_results(args.output, {"options": vars(args), "load": load, "rows": rows})


if __name__ == "__main__":
    main()
