"""What load_stack costs against torch.load, on a base-size checkpoint that real fairseq built.

Writes a wav2vec 2.0 base model (95 M parameters, random) as fairseq's trainer does, once without
and once with Adam's state. Times load_stack and torch.load of it in turn in one process, and
measures the peak of resident memory of each in processes of their own, as multiples of the size
of the file without Adam's state (a model's size).

    python tools/bench/load_stack.py [--checkpoint FILE.pt] [--keep FOLDER]

Where there is no fairseq, as in environment modern, --checkpoint takes the files that --keep left.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

import torch

from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.timing import (
    interleaved_seconds,
    median_ratio,
    middle_half,
    peak_bytes,
)


def write_base(path: Path, adam: bool, old: bool) -> None:
    """A pre-training checkpoint of fairseq's wav2vec 2.0 base model.

    Args:
        adam: whether the optimizer's two moments are in it.
        old: in torch's format of before 1.6.
    """
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    layout = Wav2Vec2Config(quantize_targets=True, final_dim=256, encoder_layerdrop=0.05)
    cfg = OmegaConf.structured(layout)
    model = Wav2Vec2Model(cfg)
    plain = {**OmegaConf.to_container(cfg, enum_to_str=True), "_name": "wav2vec2"}
    content: Dict[str, Any] = {
        "args": None,
        "cfg": {"model": plain, "task": {"_name": "audio_pretraining", "normalize": False}},
        "model": model.state_dict(),
        "optimizer_history": [],
        "extra_state": {"epoch": 1},
    }
    if adam:
        optimizer = torch.optim.Adam(model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        content["last_optimizer_state"] = optimizer.state_dict()
    torch.save(content, path, _use_new_zipfile_serialization=not old)


def torch_load(path: str) -> Any:
    """What torch itself does with the file."""
    return torch.load(path, map_location="cpu")


def _measure(load: Callable[[str], Any], path: str, queue: Any) -> None:
    torch.set_num_threads(1)
    load_stack_once()  # imports and first calls are no part of the peak
    kept = []
    queue.put(peak_bytes(lambda: kept.append(load(path))))


def load_stack_once() -> None:
    """Everything that a first call of load_stack imports and allocates."""
    from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
    from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

    config = Wav2Vec2Config(width=16, blocks=1, heads=2, feed_forward=16, pos_groups=2)
    with tempfile.TemporaryDirectory() as folder:
        Wav2Vec2Stack(config).save(Path(folder) / "tiny.pt")
        load_stack(Path(folder) / "tiny.pt")


def peak(load: Callable[[str], Any], path: str) -> int:
    """Bytes of resident memory at the peak of ``load(path)``, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(load, path, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def compare(path: Path, model_bytes: int, rounds: int) -> Dict[str, Any]:
    """Times and peaks of both on one file."""
    name = str(path)
    calls = {"load_stack": lambda: load_stack(name), "torch.load": lambda: torch_load(name)}
    seconds = interleaved_seconds(calls, rounds)
    least, most = middle_half(seconds["load_stack"], seconds["torch.load"])
    peaks = {call.__name__: peak(call, name) for call in (load_stack, torch_load)}
    return {
        "file_mib": round(path.stat().st_size / 2**20),
        "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
        "time_ratio": round(median_ratio(seconds["load_stack"], seconds["torch.load"]), 2),
        "middle_half": [round(least, 2), round(most, 2)],
        "peak_of_model_size": {n: round(p / model_bytes, 2) for n, p in peaks.items()},
    }


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark and print a line of JSON for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a file of yours; none is written then")
    parser.add_argument("--keep", help="folder in which the files that are written stay")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--num_threads", type=int, default=2)
    args = parser.parse_args(cmd)
    torch.set_num_threads(args.num_threads)
    about = {
        "threads": args.num_threads,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }
    if args.checkpoint is not None:
        path = Path(args.checkpoint)
        result = compare(path, path.stat().st_size, args.rounds)
        print(json.dumps({**about, "form": path.name, **result}))
        return
    with tempfile.TemporaryDirectory() as folder:
        model_bytes = 0
        for form, adam, old in (
            ("zip", False, False),
            ("old", False, True),
            ("zip_with_adam", True, False),
        ):
            path = Path(args.keep or folder) / f"{form}.pt"
            write_base(path, adam, old)
            model_bytes = model_bytes or path.stat().st_size
            result = compare(path, model_bytes, args.rounds)
            print(json.dumps({**about, "form": form, **result}), flush=True)


if __name__ == "__main__":
    main()
