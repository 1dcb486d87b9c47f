"""Teach an edited speech encoder what its original computes.

::

    python -m espnet_plugin.bin.distill --teacher exp/asr --plan plan.yaml \\
        --data_dir dump/raw/train --valid_data_dir dump/raw/dev --max_updates 200 --out exp/healed
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from espnet_plugin.distill.losses import HIDDEN
from espnet_plugin.distill.settings import DECAYS, Settings
from espnet_plugin.primitives import bound_primitives

_UPDATES = f"one number, or one for each stage; {Settings.max_updates} if neither limit is given"


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Teach an edited speech encoder what its original computes",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--teacher", required=True, help="experiment directory or checkpoint")
    add("--student", help="the same, edited from the teacher")
    add("--plan", help="or the plan that makes the student; see docs/block_plan.md")
    add("--data_dir", required=True, help="Kaldi directory with wav.scp; no text is needed")
    add("--valid_data_dir", help="held-out speech: the student that is best on it is written")
    add("--out", required=True, help="experiment directory to write, or directory for stack.pt")
    add(
        "--stages",
        nargs="+",
        choices=("heal", "mimic", "task"),
        help="what to do, in turn; mimic (and task, with text and an experiment) where the plan "
        "has a mimic, else heal",
    )
    group = parser.add_argument_group("how long and how fast")
    add = group.add_argument
    add("--max_updates", type=int, nargs="+", help=_UPDATES)
    add("--max_seconds", type=float, nargs="+", help="the same; what is reached first ends it")
    add("--learning_rate", type=float, default=Settings.learning_rate)
    add("--warmup", type=float, default=Settings.warmup, help="share of the run")
    add("--decay", choices=DECAYS, default=Settings.decay)
    add("--weight_decay", type=float, default=Settings.weight_decay)
    add("--grad_clip", type=float, default=Settings.grad_clip)
    add("--interval", type=int, default=Settings.interval, help="updates between checkpoints")
    add("--dropout", action="store_true", help="the student's dropout is on")
    add("--batch_seconds", type=float, default=60.0, help="speech in a batch, padding included")
    add(
        "--speed_perturb",
        type=float,
        default=0.0,
        help="play batches of --data_dir slower or faster, by at most this share (0.1: 0.9 to 1.1)",
    )
    add("--seed", type=int, default=0)
    add("--ngpu", type=int, choices=(0, 1), default=0)
    add("--num_threads", type=int, default=2, help="processor threads")
    group = parser.add_argument_group("healing")
    add = group.add_argument
    add("--hidden_loss", choices=tuple(HIDDEN), default="mse")
    add("--hidden_weight", type=float, default=1.0)
    add("--posterior_weight", type=float, help="of the CTC posteriors; 1 with an experiment")
    add("--ctc_weight", type=float, default=0.0, help="of CTC on the transcripts in text")
    add(
        "--blocks",
        type=int,
        nargs="*",
        help="blocks to compare, by number in the unedited stack; the final output always is "
        "compared. The first after each gap if not given",
    )
    add("--train_front", action="store_true", help="also train what comes before the blocks")
    group = parser.add_argument_group("mimicking")
    add = group.add_argument
    add(
        "--teacher_blocks",
        type=int,
        nargs="+",
        help="the block that each layer of the mimic learns; the end of the first similarity block "
        "and the last block if not given",
    )
    add("--frozen", action="store_true", help="the stage task trains the CTC layer alone")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command; a table of the losses goes to standard output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    if args.max_updates is None and args.max_seconds is None:
        args.max_updates = [Settings.max_updates]
    bound_primitives()
    try:
        _distill(args)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"distill: {error}")


def _distill(args: argparse.Namespace) -> None:
    import torch

    from espnet_plugin.atomic import write_json
    from espnet_plugin.distill.models import load_models
    from espnet_plugin.distill.stages import Job

    out = Path(args.out)
    if not (out / "distill").is_dir() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {out}: there is something in it; name another directory")
    if args.ngpu and not torch.cuda.is_available():
        raise ValueError("--ngpu 1: torch finds no GPU")
    torch.set_num_threads(args.num_threads)
    models = load_models(args.teacher, args.student, args.plan, args.seed)
    models.to("cuda" if args.ngpu else "cpu")
    histories = Job(args, models).run()
    write_json(out / "distill" / "history.json", histories)
    written = models.write(out)
    print("| stage | term | before | after | updates | seconds |\n|---|---|---|---|---|---|")
    for stage, history in histories.items():
        for row in _rows(history):
            print(f"| {stage} | {row} |")
    logging.info("%s is written", written)


def _rows(history: List[Dict[str, Any]]) -> List[str]:
    """Held-out losses where there are some, else those of training."""
    last = history[-1]
    ran = f"{last['updates']} | {last['seconds']:.0f}"
    if last["valid"]:
        best = min(history, key=lambda entry: entry["valid"]["loss"])["valid"]
        first = history[0]["valid"]
        return [f"{name}, held out | {first[name]:.5g} | {best[name]:.5g} | {ran}" for name in best]
    names = [name for name in last if name not in ("updates", "seconds", "valid")]
    first = history[min(1, len(history) - 1)]
    return [f"{name} | {first[name]:.5g} | {last[name]:.5g} | {ran}" for name in names]


if __name__ == "__main__":
    main()
