#!/usr/bin/env python3
"""What the analysis of a base-size wav2vec 2.0 stack costs on real speech, in time and memory.

The LibriSpeech test-other recordings below ESPNET_PLUGIN_DATA (default ../shared/data) go through
the stack batch by batch. In turn in one process: the forward pass with explicit attention maps at
which nobody looks; the same with all attention measures (`attention`, `patterns`); the same with
the similarity of all pairs of hidden states (`similarity`: cosine, CKA, mutual k-NN) on top.
Ratios are medians over rounds. Peaks of resident memory are those of fresh processes that analyse
a few and all of the recordings, the longest always among them.

    python tools/bench/analysis_base.py [--checkpoint FILE] [--neighbour_sweep 10]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import soundfile
import torch
from bench_results import add_output_option, peak_gigabytes, write_results

from espnet_plugin.analysis.suite.measure import Context, Measure
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import Subject, load_subject
from espnet_plugin.stacks.batches import Batch, Utterance, plan_batches, read_batch
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import RATE, Wav2Vec2Stack

DATA = Path(os.environ.get("ESPNET_PLUGIN_DATA", "../shared/data"))
ATTENTION = ("attention", "patterns")
ARMS = {"attention": ATTENTION, "similarity": (*ATTENTION, "similarity")}


def load(checkpoint: Optional[str]) -> Subject:
    """The checkpoint, or a base stack of random parameters."""
    if checkpoint is not None:
        return load_subject(checkpoint)
    torch.manual_seed(0)
    return Subject("random", Wav2Vec2Stack(Wav2Vec2Config.base()).eval())


def recordings(count: Optional[int] = None) -> List[Utterance]:
    """The longest ``count`` test-other recordings, or all."""
    found = []
    for path in sorted((DATA / "LibriSpeech/test-other").rglob("*.flac")):
        info = soundfile.info(str(path))
        found.append(Utterance(path.stem, path, info.frames, info.samplerate))
    if not found:
        raise SystemExit(f"analysis_base: no test-other below {DATA}; set ESPNET_PLUGIN_DATA")
    return sorted(found, key=lambda u: (-u.samples, u.utt_id))[:count]


def measures(subject: Subject, names: Sequence[str], sweep: Sequence[int]) -> List[Measure]:
    """Fresh ones, without any utterance."""
    return make_measures(names, Context(subject, "", options={"neighbour_sweep": list(sweep)}))


def arms(subject: Subject, sweep: Sequence[int]) -> Dict[str, Callable[[Batch], Any]]:
    """Name -> what is done with a batch."""

    @torch.inference_mode()
    def forward(batch: Batch) -> None:
        with attention_maps(subject.encoder, lambda block, maps, lengths: None):
            subject.run(batch[1], batch[2])

    passes = {n: Pass(subject, measures(subject, m, sweep), RATE) for n, m in ARMS.items()}
    return {"forward": forward, **{name: one.update for name, one in passes.items()}}


def seconds(
    subject: Subject,
    plan: List[List[Utterance]],
    rounds: int,
    sweep: Sequence[int],
    clock: Callable[[], float],
) -> Dict[str, List[float]]:
    """Of each arm over all batches, for each round; arms take turns at every batch."""
    for arm in arms(subject, sweep).values():
        arm(read_batch(plan[-1]))
    found: Dict[str, List[float]] = {}
    for _ in range(rounds):
        todo = arms(subject, sweep)
        spent = dict.fromkeys(todo, 0.0)
        for utterances in plan:
            batch = read_batch(utterances)
            for name, arm in todo.items():
                start = clock()
                arm(batch)
                spent[name] += clock() - start
        for name, value in spent.items():
            found.setdefault(name, []).append(value)
    return found


def _analyse(args: argparse.Namespace, count: Optional[int], queue: Any) -> None:
    torch.set_num_threads(args.num_threads)
    subject = load(args.checkpoint)
    run = Pass(subject, measures(subject, ARMS["similarity"], args.neighbour_sweep), RATE)
    for batch in plan_batches(recordings(count), args.batch_seconds):
        run.update(read_batch(batch))
    for measure in run.measures:
        measure.result()
    queue.put(peak_gigabytes())


def peak(args: argparse.Namespace, count: Optional[int]) -> float:
    """GiB resident at the peak of a fresh process that analyses ``count`` recordings."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_analyse, args=(args, count, queue))
    process.start()
    found = float(queue.get())
    process.join()
    return found


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", help="whatever load_stack reads (default: random, base)")
    parser.add_argument("--utterances", type=int, help="only the longest so many")
    parser.add_argument("--few", type=int, default=5, help="of which the memory is compared")
    parser.add_argument("--batch_seconds", type=float, default=60.0)
    parser.add_argument("--neighbour_sweep", type=int, nargs="*", default=[1, 2, 5, 10, 20, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, for a machine that others load; take one thread then",
    )
    add_output_option(parser)
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark and print a line of JSON."""
    args = get_parser().parse_args(cmd)
    torch.set_num_threads(args.num_threads)
    before = os.getloadavg()[0]
    peaks = {str(n or "all"): round(peak(args, n), 3) for n in (args.few, args.utterances)}
    subject = load(args.checkpoint)
    utterances = recordings(args.utterances)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    plan = plan_batches(utterances, args.batch_seconds)
    found = seconds(subject, plan, args.rounds, args.neighbour_sweep, clock)
    forward = found["forward"]
    attention = [a / f for a, f in zip(found["attention"], forward, strict=True)]
    both = zip(found["similarity"], found["attention"], forward, strict=True)
    on_top = [(s - a) / f for s, a, f in both]
    result = {
        "utterances": len(utterances),
        "speech_seconds": round(sum(u.seconds for u in utterances), 1),
        "blocks": subject.blocks,
        "width": subject.width,
        "torch": torch.__version__,
        "threads": args.num_threads,
        "clock": args.clock,
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "seconds": {name: round(statistics.median(s), 2) for name, s in found.items()},
        "attention_to_forward": [round(v, 3) for v in _spread(attention)],
        "similarity_on_top": [round(v, 3) for v in _spread(on_top)],
        "peak_gib": peaks,
    }
    print(json.dumps(result))
    write_results(args.output, result)


def _spread(values: Sequence[float]) -> List[float]:
    """Median, least, most."""
    return [statistics.median(values), min(values), max(values)]


if __name__ == "__main__":
    main()
