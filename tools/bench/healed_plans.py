#!/usr/bin/env python3
"""Heal the edits of several plans alike, and compare their word error rates and their speed.

Each plan is healed by ``bin.distill`` once for each seed, and decoded with k2 by CTC and, with
``--graph``, by HLG. Differences to the first plan have a paired bootstrap interval over utterances,
of the errors' means over the seeds. Times, on one thread those of the processor, are taken in turn
in one process, as medians of ratios.

    python tools/bench/healed_plans.py --teacher exp/asr --plan budget.yaml uniform.yaml \\
        --data_dir dump/raw/train --valid_data_dir dump/raw/dev --test dump/raw/test \\
        --graph data/lang/HLG.pt --seeds 0 1 --out exp/healed \\
        --heal_args="--max_updates 222 --batch_seconds 60 --learning_rate 0.003"

What is in ``--out`` already is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Dict, List, Optional, Sequence

import torch
from bench_results import add_output_option, environment, markdown_table, write_results

from espnet_plugin.bin import asr_inference_k2, distill
from espnet_plugin.score.counts import align, count_errors
from espnet_plugin.score.interval import bootstrap_interval, paired_interval
from espnet_plugin.score.sets import read_text
from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.timing import Call, median_ratio
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.budget.latency import Clock, speech_of
from espnet_plugin.surgery.plan import BlockPlan


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="experiment directory")
    parser.add_argument("--plan", nargs="+", required=True, help="the first is compared with")
    parser.add_argument("--name", nargs="+", help="of the plans; their files' by default")
    parser.add_argument("--data_dir", required=True, help="to heal on")
    parser.add_argument("--valid_data_dir", required=True, help="held out, for the healing")
    parser.add_argument("--test", required=True, help="Kaldi directory with text: to be decoded")
    parser.add_argument("--graph", help="HLG.pt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--heal_args", default="", help="more options of bin.distill, one string")
    parser.add_argument("--seconds", type=float, default=15.0, help="length that times are of")
    parser.add_argument("--repeats", type=int, default=31, help="turns of each time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, help="directory: PLAN/SEED for each healed model")
    add_output_option(parser)
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    torch.set_num_threads(args.threads)
    names = args.name or [Path(plan).stem for plan in args.plan]
    if len(set(names)) < len(names) or len(names) != len(args.plan):
        sys.exit("--name: a name of its own for each plan")
    methods = ["ctc", *(["hlg"] if args.graph else [])]
    plans = dict(zip(names, args.plan, strict=True))
    speeds = speeds_of(args, plans)
    teacher, beside = Path(args.teacher), Path(args.out) / "original"
    found = {m: {"original": [errors_of(args, m, teacher, beside)]} for m in methods}
    seconds: Dict[str, List[float]] = {}
    for name, plan in plans.items():
        runs = [heal(args, name, plan, seed) for seed in args.seeds]
        seconds[name] = [run["seconds"] for run in runs]
        for method in methods:
            models = [run["model"] for run in runs]
            found[method][name] = [errors_of(args, method, model, model) for model in models]
    rows = table(args, names, found, speeds, seconds)
    print(markdown_table(rows))
    write_results(args.output, {"environment": environment(), "options": vars(args), "rows": rows})


def heal(args: argparse.Namespace, name: str, plan: str, seed: int) -> Dict[str, Any]:
    """The healed model of one plan and seed, and how long its healing took."""
    out = Path(args.out) / name / str(seed)
    history = out / "distill" / "history.json"
    if not history.is_file():
        _run(distill, "--teacher", args.teacher, "--plan", plan, "--data_dir", args.data_dir,
             "--valid_data_dir", args.valid_data_dir, "--out", out, "--seed", seed,
             "--num_threads", args.threads, *args.heal_args.split())  # fmt: skip
    stages = json.loads(history.read_text())
    return {"model": out, "seconds": sum(stage[-1]["seconds"] for stage in stages.values())}


def errors_of(args: argparse.Namespace, method: str, model: Path, out: Path) -> List[int]:
    """Word errors of every utterance of the test set."""
    decoded = out / f"decode_{method}"
    if not (decoded / "1best_recog" / "text").is_file():
        options = ["--graph", args.graph] if method == "hlg" else []
        _run(asr_inference_k2, "--exp_dir", model, "--method", method, "--data_dir", args.test,
             "--output_dir", decoded, "--lattice_dir", "none", *options)  # fmt: skip
    hypotheses = read_text(decoded / "1best_recog" / "text")
    references = read_text(Path(args.test) / "text")
    return [
        count_errors(align(text.split(), hypotheses[name].split())).errors
        for name, text in references.items()
    ]


def speeds_of(args: argparse.Namespace, plans: Dict[str, str]) -> Dict[str, Dict[str, float]]:
    """By plan, how many times as fast as the original the blocks and the whole encoder are."""
    original = load_stack(args.teacher)
    stacks = {"original": original}
    stacks.update({n: apply_plan(original, BlockPlan.load(plan)) for n, plan in plans.items()})
    inputs = speech_of(list_utterances(args.test), args.seconds, 1)
    clock = Clock(rounds=args.repeats, seconds=0.0)
    found: Dict[str, Dict[str, float]] = {name: {} for name in stacks}
    for what, make in (("whole", _whole), ("blocks", _blocks)):
        calls = {name: make(stack, *inputs) for name, stack in stacks.items()}
        seconds = clock.times(calls)
        for name in stacks:
            found[name][what] = median_ratio(seconds["original"], seconds[name])
    return found


def _whole(stack: Stack, *inputs: torch.Tensor) -> Call:
    @torch.no_grad()
    def call() -> Any:
        return stack.output(*inputs)

    return call


@torch.no_grad()
def _blocks(stack: Stack, *inputs: torch.Tensor) -> Call:
    state = stack.embed(*inputs)

    @torch.no_grad()
    def call() -> Any:
        now = replace(state)
        for place in range(len(stack.blocks)):
            now = stack.step(place, now)
        return now

    return call


def table(
    args: argparse.Namespace,
    names: Sequence[str],
    found: Dict[str, Dict[str, List[List[int]]]],
    speeds: Dict[str, Dict[str, float]],
    seconds: Dict[str, List[float]],
) -> List[Dict[str, Any]]:
    """One row for each model; rates in percent."""
    texts = read_text(Path(args.test) / "text").values()
    words = [len(text.split()) for text in texts]
    rows = []
    for name in ["original", *names]:
        row: Dict[str, Any] = {"model": name, **speeds[name]}
        row["healed, s"] = "–" if name not in seconds else f"{fmean(seconds[name]):.0f}"
        for method, runs in found.items():
            mean = [fmean(errors) for errors in zip(*runs[name], strict=True)]
            low, high = bootstrap_interval(mean, words) or (0.0, 0.0)
            each = ", ".join(f"{100 * sum(run) / sum(words):.2f}" for run in runs[name])
            rate = 100 * sum(mean) / sum(words)
            row[f"{method}, %"] = f"{rate:.2f} ({low:.2f}–{high:.2f}): {each}"
            for other in ("original", names[0]):
                theirs = [fmean(errors) for errors in zip(*runs[other], strict=True)]
                low, high = paired_interval(mean, theirs, words) or (0.0, 0.0)
                more = rate - 100 * sum(theirs) / sum(words)
                row[f"{method} − {other}"] = f"{more:+.2f} ({low:+.2f} to {high:+.2f})"
        rows.append(row)
    return rows


def _run(command: Any, *options: object) -> None:
    logging.info("%s %s", command.__name__.split(".")[-1], " ".join(map(str, options)))
    command.main(list(map(str, options)))


if __name__ == "__main__":
    main()
