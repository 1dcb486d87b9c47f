"""Propose block plans: from attention, similarity, a list of abnormal blocks, or a budget.

::

    python -m espnet_plugin.bin.plan --analysis attention.json --theta 0.9 --out plan.yaml
    python -m espnet_plugin.bin.plan --model exp/asr --data_dir dump/raw/dev \\
        --order block_influence --remove 3 --out plan.yaml
    python -m espnet_plugin.bin.plan --model wav2vec_small.pt --abnormal 3 7 --arms exp/arms
    python -m espnet_plugin.bin.plan --model exp/asr --data_dir dump/raw/dev \\
        --budget speed=2 --out exp/budget/plan.yaml
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

from espnet_plugin.primitives import bound_primitives

if TYPE_CHECKING:
    from espnet_plugin.stacks.batches import Utterance
    from espnet_plugin.surgery.budget.healed import Trial
    from espnet_plugin.surgery.subject import Subject

logger = logging.getLogger(__name__)

WAYS = ("analysis", "order", "abnormal", "diagnosis", "budget")


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Propose block plans; give one of --analysis, --order, --abnormal, "
        "--diagnosis, --budget. "
        "See docs/plans.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=__doc__.partition("::\n\n")[2] if __doc__ else None,
    )
    parser.add_argument("--out", help="the plan to write (YAML)")
    parser.add_argument("--model", help="checkpoint or directory, whatever load_stack reads")
    parser.add_argument("--data_dir", help="Kaldi directory with wav.scp: speech to measure on")
    parser.add_argument("--utterances", type=int, help="of it, spread evenly (default: all; 24)")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="speech of a batch")
    parser.add_argument("--num_threads", type=int, default=1, help="processor threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")

    group = parser.add_argument_group("reuse of attention maps, from an attention analysis")
    group.add_argument("--analysis", help="attention.json of espnet_plugin.bin.analyze")
    group.add_argument(
        "--theta",
        type=float,
        help="grow each group while the mean similarity of its maps is at least this (0 to 1)",
    )
    group.add_argument("--group_size", type=int, help="groups of so many blocks, in order")
    group.add_argument("--num_groups", type=int, help="so many groups, as alike as possible")
    group.add_argument(
        "--min_group", type=int, help="least blocks of a group, as alike as possible"
    )

    group = parser.add_argument_group("pruning orders, from similarities of blocks")
    group.add_argument(
        "--order",
        help="block_influence, knn_influence, multi_knn_influence, cka, forward, backward, "
        "forward_backward or core_first",
    )
    group.add_argument("--remove", type=int, help="how many blocks to drop")
    group.add_argument("--core", type=int, nargs="+", default=(), help="core_first: drop these 1st")
    group.add_argument(
        "--samples", default="frames", choices=("frames", "utterances"), help="what is compared"
    )
    group.add_argument("--neighbours", type=int, default=10, help="k of mutual k-NN")
    group.add_argument(
        "--similarity",
        help="where similarities are kept, for the next order (default: similarity.json beside "
        "--out)",
    )

    group = parser.add_argument_group("arms that avoid abnormal blocks, and their control")
    group.add_argument("--abnormal", type=int, nargs="+", help="numbers of blocks")
    group.add_argument(
        "--diagnosis", help="diagnosis.json of espnet_plugin.bin.diagnose: its blocks, its stack"
    )
    group.add_argument("--family", help="in place of --model: wav2vec2, hubert, conformer, …")
    group.add_argument("--blocks", type=int, help="in place of --model: how many the stack has")
    group.add_argument("--arms", help="directory that gets a plan for each of the five arms")
    group.add_argument(
        "--strategy", choices=("drop", "local", "share", "control"), help="one arm, to --out"
    )
    group.add_argument("--window", type=int, default=16, help="frames of local attention")
    group.add_argument(
        "--control_edit",
        default="drop",
        choices=("drop", "local", "share"),
        help="what the control does to blocks that are not abnormal",
    )

    group = parser.add_argument_group("least damage within a budget, measured on this machine")
    group.add_argument(
        "--budget",
        metavar="METRIC=NUMBER",
        help="speed=2, block_speed=2 (times as fast), parameters=0.5 or macs=0.5 (share left)",
    )
    group.add_argument(
        "--capacity",
        choices=("greedy", "token", "phone", "word", "speaker"),
        help="damage is the loss of this: words or tokens of greedy decoding, or what probes of "
        "--probes read (default: how far the posteriors or hidden states move)",
    )
    group.add_argument(
        "--probes", help="directory of espnet_plugin.bin.analyze, with phone_probe, …"
    )
    group.add_argument(
        "--alignments", help="for --capacity phone: TextGrids, lhotse cuts or supervisions"
    )
    group.add_argument(
        "--work_dir",
        help="gets the journal of measurements and curve.{json,csv,png} (default: beside --out)",
    )
    group.add_argument(
        "--seconds",
        type=float,
        nargs="+",
        help="lengths of speech that times are taken at (default: the median of --data_dir)",
    )
    group.add_argument("--batch", type=int, default=1, help="utterances at once, for times")
    group.add_argument("--rounds", type=int, default=15, help="of each time, at least")
    group.add_argument(
        "--actions",
        nargs="+",
        default=("drop", "reuse_attention", "local_attention", "prune_heads", "share"),
        choices=("drop", "reuse_attention", "local_attention", "prune_heads", "share"),
        help="what may be done to blocks",
    )
    group.add_argument(
        "--windows", type=int, nargs="+", default=(8, 16, 32, 64), help="of local attention"
    )
    group.add_argument("--longest", type=int, default=4, help="blocks that use one map, at most")
    group.add_argument(
        "--width", type=int, default=8, help="plans measured at each step of the search"
    )
    group.add_argument(
        "--compare",
        action="store_true",
        help="also uniform dropping, block influence, and every kind of edit alone",
    )
    group.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="how far measured costs may be above the budget, as a share of it (0.01: 1 percent)",
    )
    group.add_argument(
        "--finalists",
        type=int,
        help="so many of the best plans, and those of --compare, are healed for a short time; the "
        "one with the least damage afterwards is written",
    )
    group.add_argument(
        "--finalist_updates", type=int, default=60, help="updates of that healing (60)"
    )
    group.add_argument(
        "--finalist_rate", type=float, default=1e-3, help="learning rate of that healing (0.001)"
    )
    group.add_argument("--train_data_dir", help="Kaldi directory with wav.scp: speech to heal on")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    bound_primitives()
    try:
        given = [way for way in WAYS if getattr(args, way) is not None]
        if len(given) != 1:
            named = " and ".join(f"--{way}" for way in given) or "none of them"
            raise ValueError(f"give one of {', '.join('--' + w for w in WAYS)}, not {named}")
        _check_capacity(args)
        {"analysis": _reuse, "order": _order, "budget": _budget}.get(given[0], _arms)(args)
    except (ImportError, OSError, ValueError, TypeError) as error:
        sys.exit(f"plan: {error}")


def _check_capacity(args: argparse.Namespace) -> None:
    if args.capacity is not None and args.budget is None:
        raise ValueError("--capacity is of use with --budget only")
    read = args.capacity in ("phone", "word", "speaker")
    if read and args.probes is None:
        raise ValueError(f"--capacity {args.capacity} needs --probes, the directory of an analysis")
    if args.probes is not None and not read:
        raise ValueError("--probes is of use with --capacity phone, word or speaker only")
    if (args.alignments is not None) != (args.capacity == "phone"):
        raise ValueError("--alignments and --capacity phone need each other")


def _needed(args: argparse.Namespace, *names: str) -> None:
    missing = [name for name in names if getattr(args, name) is None]
    if missing:
        raise ValueError(f"--{missing[0]} is needed too")


def _reuse(args: argparse.Namespace) -> None:
    from espnet_plugin.analysis.maps.attention_report import load_report
    from espnet_plugin.analysis.maps.propose import propose_reuse

    _needed(args, "out")
    plan = propose_reuse(
        load_report(args.analysis), args.theta, args.group_size, args.num_groups, args.min_group
    )
    plan.save(args.out)
    logger.info("%s: reuse groups %s", args.out, plan.reuse_groups())
    if not plan.actions:
        lower = "" if args.theta is None else f"; lower --theta ({args.theta:g})"
        logger.warning("%s: no block reuses another's map%s", args.out, lower)


def _order(args: argparse.Namespace) -> None:
    import torch

    from espnet_plugin.surgery.orders import (
        Similarities,
        check_remove,
        measure_similarities,
        order_plan,
    )
    from espnet_plugin.surgery.pruning_order import SIMILARITY
    from espnet_plugin.surgery.subject import open_subject, utterances_of

    _needed(args, "out", "model", "remove")
    if (args.order == "core_first") != bool(args.core):
        raise ValueError("--core (the blocks to drop first) and --order core_first need each other")
    torch.set_num_threads(args.num_threads)
    subject = open_subject(args.model, args.device)
    try:
        check_remove(args.order, subject.description.blocks, args.remove)
    except ValueError as error:
        raise ValueError(f"--order {args.order} --remove {args.remove}: {error}") from None
    found: Optional[Similarities] = None
    if args.order in SIMILARITY:
        _needed(args, "data_dir")
        path = Path(args.similarity or Path(args.out).with_name("similarity.json"))
        utterances = utterances_of(subject, args.data_dir, args.utterances)
        key = (args.model, args.data_dir, args.samples, args.neighbours)
        asked = Similarities(*key, len(utterances), {})
        if path.is_file() and (stored := Similarities.load(path)).serves(asked):
            logger.info("%s: similarities of %d utterances", path, stored.utterances)
            found = stored
        else:
            measured = measure_similarities(
                subject.stack, utterances, args.samples, args.neighbours, args.batch_seconds
            )
            found = Similarities(*key, len(utterances), measured)
            found.save(path)
            logger.info("%s: written", path)
    plan = order_plan(subject.description, args.order, args.remove, found, args.core)
    plan.save(args.out)
    logger.info("%s: drops %s", args.out, [action.touched[0] for action in plan.actions])


def _arms(args: argparse.Namespace) -> None:
    from espnet_plugin.surgery.arms import (
        arm_plans,
        control_plan,
        filter_plan,
        read_diagnosis,
    )

    if (args.arms is None) == (args.strategy is None):
        raise ValueError("give either --arms DIRECTORY or --strategy and --out")
    abnormal = args.abnormal
    if args.diagnosis is not None:
        family, blocks, abnormal = read_diagnosis(args.diagnosis)
    elif args.model is not None:
        from espnet_plugin.surgery.subject import open_subject

        description = open_subject(args.model).description
        family, blocks = description.family, description.blocks
    else:
        _needed(args, "family", "blocks")
        family, blocks = args.family, args.blocks
    of = (family, blocks, abnormal)
    if args.strategy is not None:
        _needed(args, "out")
        if args.strategy == "control":
            edit = args.control_edit
            plan = control_plan(*of, edit, args.window, args.seed, args.model)
        else:
            plan = filter_plan(*of, args.strategy, args.window, args.model)
        plans = {Path(args.out): plan}
    else:
        arms = arm_plans(*of, args.window, args.seed, args.control_edit, args.model)
        plans = {Path(args.arms) / f"{name}.yaml": plan for name, plan in arms.items()}
    for path, plan in plans.items():
        plan.save(path)
        touched = [action.touched[0] for action in plan.actions]
        logger.info("%s: %s", path, f"blocks {touched}" if touched else "nothing is done")


def _budget(args: argparse.Namespace) -> None:
    import torch

    from espnet_plugin.surgery.budget.compare import compared_plans
    from espnet_plugin.surgery.budget.curve import curve_of, summary, write_curve
    from espnet_plugin.surgery.budget.goal import Budget
    from espnet_plugin.surgery.budget.latency import Clock
    from espnet_plugin.surgery.budget.measure import Measurer
    from espnet_plugin.surgery.budget.propose import Options, propose
    from espnet_plugin.surgery.budget.task import task_of
    from espnet_plugin.surgery.subject import open_subject, split_utterances

    _needed(args, "out", "model", "data_dir")
    if args.finalists is not None:
        _needed(args, "train_data_dir")
        if args.finalists < 1 or args.finalist_updates < 1:
            raise ValueError("--finalists and --finalist_updates must be 1 or above")
    elif args.train_data_dir is not None:
        raise ValueError("--train_data_dir is of use with --finalists only")
    budget = Budget.parse(args.budget)
    torch.set_num_threads(args.num_threads)
    subject = open_subject(args.model, args.device)
    task = None
    if args.capacity is not None:
        asked = (args.capacity, subject, args.data_dir, args.probes, args.alignments)
        task = task_of(*asked, args.batch_seconds)
    count = 24 if args.utterances is None else args.utterances
    counted = None if task is None else task.counted
    utterances, others, median = split_utterances(subject, args.data_dir, count, counted)
    options = Options(
        args.actions,
        args.windows,
        args.longest,
        args.width,
        args.compare,
        args.tolerance,
        args.finalists or 0,
        None if args.finalists is None else _trial(args, subject, [*utterances, *others]),
    )
    work = Path(args.work_dir or Path(args.out).parent)
    work.mkdir(parents=True, exist_ok=True)
    measurer = Measurer(
        subject,
        utterances,
        others,
        args.seconds or [round(median, 1)],
        args.batch,
        Clock(args.rounds, device=args.device),
        work / "measurements.jsonl",
        args.batch_seconds,
        task,
    )
    found = propose(measurer, budget, options)
    curve = curve_of(found)
    for path in write_curve(curve, work):
        logger.info("%s: written", path)
    found.plan.save(args.out)
    for name, plan in compared_plans(found).items():
        plan.save(work / "compare" / f"{name}.yaml")
    print(summary(curve), end="")
    logger.info("%s: written; %d plans were measured", args.out, len(curve["plans"]))


def _trial(args: argparse.Namespace, subject: Subject, held_out: List[Utterance]) -> Trial:
    """The healing of the finalists."""
    from espnet_plugin.distill.settings import Settings
    from espnet_plugin.surgery.budget.healed import Trial
    from espnet_plugin.surgery.subject import utterances_of

    speech = utterances_of(subject, args.train_data_dir)
    both = sorted({u.utt_id for u in speech} & {u.utt_id for u in held_out})
    if both:
        raise ValueError(
            f"{both[0]} is in --train_data_dir {args.train_data_dir} and in --data_dir "
            f"{args.data_dir}: plans must be chosen by speech that they were not healed on"
        )
    updates, rate = args.finalist_updates, args.finalist_rate
    settings = Settings(max_updates=updates, interval=updates, learning_rate=rate)
    return Trial(speech, settings, args.batch_seconds, args.seed)


if __name__ == "__main__":
    main()
