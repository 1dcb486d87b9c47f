#!/usr/bin/env python3
"""What the phoneme measures cost beside the forward pass of a model.

Batches go in turn, in one process, through the forward pass with explicit attention maps at which
nobody looks, and through passes with one measure each. Without --model: a base-size wav2vec 2.0
stack of random parameters on the longest of the aligned LibriSpeech recordings below
ESPNET_PLUGIN_DATA (default ../shared/data). Ratios to the forward pass are medians over batches
and rounds.

    python tools/bench/phoneme_measures.py [--model DIR --data DIR --alignments FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import soundfile
import torch
from analysis_base import DATA, load
from bench_results import add_output_option, write_results

from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import load_subject
from espnet_plugin.primitives import bound_primitives
from espnet_plugin.stacks.batches import Batch, Utterance, list_utterances, plan_batches, read_batch
from espnet_plugin.stacks.hooks import attention_maps


def recordings(count: int) -> List[Utterance]:
    """The longest recordings that have TextGrids."""
    found = []
    for path in sorted((DATA / "LibriSpeech/train-clean-100").rglob("*.flac")):
        info = soundfile.info(str(path))
        found.append(Utterance(path.stem, path, info.frames, info.samplerate))
    if not found:
        raise SystemExit(f"phoneme_measures: no train-clean-100 below {DATA}")
    return sorted(found, key=lambda u: (-u.samples, u.utt_id))[:count]


def arms(context: Context, names: Sequence[str], rate: int) -> Dict[str, Callable[[Batch], Any]]:
    """Name -> what is done with a batch."""
    subject = context.encoder

    @torch.inference_mode()
    def forward(batch: Batch) -> None:
        with attention_maps(subject.encoder, lambda block, maps, lengths: None):
            subject.run(batch[1], batch[2])

    passes = {name: Pass(subject, make_measures([name], context), rate) for name in names}
    return {"forward": forward, **{name: one.update for name, one in passes.items()}}


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="whatever analyze takes; then --data and --alignments too")
    parser.add_argument("--data", help="Kaldi directory or file of cuts")
    parser.add_argument("--alignments", help="TextGrids or a manifest")
    parser.add_argument("--utterances", type=int, default=8, help="at most so many")
    parser.add_argument(
        "--measures", nargs="+", default=["attention", "relation", "phoneme_attention"]
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    add_output_option(parser)
    args = parser.parse_args(cmd)
    torch.set_num_threads(args.num_threads)
    bound_primitives()
    before = os.getloadavg()[0]
    subject = load_subject(args.model) if args.model else load(None)
    utterances = list_utterances(args.data)[: args.utterances] if args.data else None
    utterances = utterances or recordings(args.utterances)
    labels = PhoneLabels.read(args.alignments or DATA / "alignments" / "train-clean-100")
    rate = utterances[0].rate
    context = Context(subject, "", utterances, labels)
    plan = plan_batches(utterances, args.batch_seconds)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    spent: Dict[str, List[float]] = {}
    for number in range(args.rounds + 1):
        todo = arms(context, args.measures, rate)
        for batch in map(read_batch, plan):
            for name, arm in todo.items():
                start = clock()
                arm(batch)
                if number:  # the first round warms up
                    spent.setdefault(name, []).append(clock() - start)
    ratios = {
        name: [a / b for a, b in zip(own, spent["forward"], strict=True)]
        for name, own in spent.items()
    }
    result = {
        "utterances": len(utterances),
        "speech_seconds": round(sum(u.seconds for u in utterances), 1),
        "blocks": subject.blocks,
        "heads": max(subject.heads),
        "frames_per_second": round(rate / subject.clock.shift, 2),
        "torch": torch.__version__,
        "threads": args.num_threads,
        "clock": args.clock,
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "forward_seconds": round(sum(spent["forward"]) / args.rounds, 3),
        "ratio": {name: round(statistics.median(own), 3) for name, own in ratios.items()},
    }
    print(json.dumps(result))
    write_results(args.output, result)


if __name__ == "__main__":
    main()
