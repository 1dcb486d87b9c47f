#!/usr/bin/env python3
"""Time an update of training and an update of healing, in turn in one process.

The training's update is that of the teacher's ESPnet model (all of its parameters, CTC or whatever
its losses are) on batches of ``--train_seconds``; the healing's is that of ``bin.distill`` (hidden
states, posteriors, CTC) on batches of ``--heal_seconds``. Processor time of this process on one
thread, medians and means over turns; reading of the audio counts in both.

    python tools/bench/healing_update.py --teacher exp/asr --plan plan.yaml \\
        --data_dir dump/raw/train
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean, median
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from bench_results import add_output_option, environment, markdown_table, write_results
from torch import nn

from espnet_plugin.distill.batches import SpeechBatches, at_random_speed
from espnet_plugin.distill.healing import Healing, Weights
from espnet_plugin.distill.models import load_models
from espnet_plugin.distill.train import learning, learning_mode
from espnet_plugin.distill.transcripts import Transcripts
from espnet_plugin.stacks.batches import Batch, list_utterances
from espnet_plugin.stacks.experiment import load_experiment


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="experiment directory")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--data_dir", required=True, help="Kaldi directory with text")
    parser.add_argument("--train_seconds", type=float, default=40.0, help="speech of a batch")
    parser.add_argument("--heal_seconds", type=float, nargs="+", default=[40.0, 60.0, 80.0])
    parser.add_argument("--turns", type=int, default=15)
    add_output_option(parser)
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    torch.set_num_threads(1)
    models = load_models(args.teacher, None, args.plan)
    utterances = list_utterances(args.data_dir, models.rate)
    assert models.student_asr is not None and models.teacher_asr is not None
    names = [utterance.utt_id for utterance in utterances]
    labels = Transcripts(models.student_asr, [args.data_dir], names)
    healing = Healing(
        models.teacher,
        models.student,
        weights=Weights(1.0, 1.0, 1.0),
        log_probs=models.student_asr.model.ctc.log_softmax,
        labels=labels,
        teacher_log_probs=models.teacher_asr.model.ctc.log_softmax,
    )
    model = load_experiment(args.teacher).model
    todo: List[Tuple[str, float, SpeechBatches, Callable[[Batch], None]]] = [
        (
            "training",
            args.train_seconds,
            SpeechBatches(utterances, args.train_seconds),
            _training(model, labels),
        )
    ]
    for seconds in args.heal_seconds:
        batches = SpeechBatches(utterances, seconds, 0, at_random_speed(0.1))
        todo.append(("healing", seconds, batches, _healing(healing)))
    times: Dict[Tuple[str, float], List[float]] = {}
    with learning(models.student, healing.parameters()):
        for turn in range(args.turns + 1):
            for what, seconds, batches, update in todo:
                epoch = batches.epoch(0)
                start = time.process_time()
                update(batches.read(epoch[turn % len(epoch)]))
                if turn:
                    times.setdefault((what, seconds), []).append(time.process_time() - start)
    least = fmean(times["training", args.train_seconds])
    rows = [
        {
            "update of": what,
            "batch, s": seconds,
            "median, s": median(values),
            "mean, s": fmean(values),
            "of the training's": fmean(values) / least,
        }
        for (what, seconds), values in times.items()
    ]
    print(markdown_table(rows))
    write_results(args.output, {"environment": environment(), "options": vars(args), "rows": rows})


def _training(model: Any, labels: Transcripts) -> Callable[[Batch], None]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def update(batch: Batch) -> None:
        names, speech, lengths = batch
        tokens = [torch.tensor(one) for one in labels(names)]
        text = nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=-1)
        loss = model(speech, lengths, text, torch.tensor([len(one) for one in tokens]))[0]
        _step(loss, optimizer, list(model.parameters()))

    return update


def _healing(healing: Healing) -> Callable[[Batch], None]:
    parameters = healing.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=1e-6)

    def update(batch: Batch) -> None:
        learning_mode(healing.student, False)
        _step(healing(batch)["loss"], optimizer, parameters)

    return update


def _step(loss: Any, optimizer: torch.optim.Optimizer, parameters: List[nn.Parameter]) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 5.0)
    optimizer.step()


if __name__ == "__main__":
    main()
