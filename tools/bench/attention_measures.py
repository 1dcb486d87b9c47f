"""What attention measures cost on top of the forward pass, in time and memory.

Compares, batch by batch and in turn in one process, the forward pass with explicit attention maps
(looked at by nobody), the same with the four measures, and the same with the four measures and
the similarity of all pairs of blocks. Reports medians of the ratios over rounds.

    python tools/bench/attention_measures.py --data_dir DIR [--exp_dir EXP]

Without --exp_dir an untrained 6-block Conformer of width 144 with 4 heads is measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from typing import Callable, Dict, List, Optional, Sequence

import torch

from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.stacks.batches import Batch, Utterance, list_utterances, plan_batches, read_batch
from espnet_plugin.stacks.experiment import Experiment, load_experiment
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.untrained import create_untrained

UNTRAINED = {
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 144,
        "attention_heads": 4,
        "linear_units": 576,
        "num_blocks": 6,
        "cnn_module_kernel": 15,
        "macaron_style": True,
        "use_cnn_module": True,
        "rel_pos_type": "latest",
    },
    "model_conf": {"ctc_weight": 1.0},
}


def load(exp_dir: Optional[str]) -> Experiment:
    """The experiment, or an untrained one."""
    if exp_dir is not None:
        return load_experiment(exp_dir)
    with tempfile.TemporaryDirectory() as directory:
        create_untrained(directory, UNTRAINED, ["<blank>", "<unk>", "<sos/eos>"])
        return load_experiment(directory)


def arms(experiment: Experiment) -> Dict[str, Callable[[Batch], None]]:
    """Name -> what to do with a batch."""
    subject = Subject(experiment.directory, experiment.model.encoder, experiment)
    context = Context(subject, "")

    @torch.inference_mode()
    def forward(batch: Batch) -> None:
        with attention_maps(subject.encoder, lambda block, maps, lengths: None):
            subject.run(batch[1], batch[2])

    def measured(*names: str) -> Callable[[Batch], None]:
        return lambda batch: Pass(subject, make_measures(names, context), 16000).update(batch)

    return {
        "forward": forward,
        "measures": measured("attention"),
        "similarity": measured("attention", "map_similarity"),
    }


def run(
    todo: Dict[str, Callable[[Batch], None]],
    plan: List[List[Utterance]],
    rounds: int,
    clock: Callable[[], float],
) -> Dict[str, List[float]]:
    """Seconds of each arm over all batches, for each round; arms take turns at every batch.

    Reading a batch is not timed, and a batch is gone before the next one is read.
    """
    for arm in todo.values():
        arm(read_batch(plan[0]))
    seconds: Dict[str, List[float]] = {name: [] for name in todo}
    for _ in range(rounds):
        spent = dict.fromkeys(todo, 0.0)
        for utterances in plan:
            batch = read_batch(utterances)
            for name, arm in todo.items():
                start = clock()
                arm(batch)
                spent[name] += clock() - start
        for name in todo:
            seconds[name].append(spent[name])
    return seconds


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exp_dir", help="experiment directory; an untrained model if not given")
    parser.add_argument("--data_dir", required=True, help="Kaldi directory with wav.scp")
    parser.add_argument("--batch_seconds", type=float, default=60.0)
    parser.add_argument("--utterances", type=int, help="only so many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, for a machine that others load; take one thread then",
    )
    parser.add_argument(
        "--arms", nargs="+", default=["forward", "measures", "similarity"], help="which to run"
    )
    args = parser.parse_args(cmd)
    torch.set_num_threads(args.num_threads)
    experiment = load(args.exp_dir)
    utterances = list_utterances(args.data_dir)[: args.utterances]
    plan = plan_batches(utterances, args.batch_seconds)
    todo = {name: arm for name, arm in arms(experiment).items() if name in args.arms}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    seconds = run(todo, plan, args.rounds, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "utterances": len(utterances),
        "speech_seconds": round(sum(u.seconds for u in utterances), 1),
        "threads": args.num_threads,
        "clock": args.clock,
        "torch": torch.__version__,
        "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
        "peak_over_start_mib": round(peak - before),
    }
    if "forward" in seconds:
        result["ratio_to_forward"] = {
            name: round(
                statistics.median(a / b for a, b in zip(s, seconds["forward"], strict=True)), 3
            )
            for name, s in seconds.items()
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
