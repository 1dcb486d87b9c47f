"""Classify words and speakers of the spoken digits, and see what a stack's blocks are worth.

The steps, in the order of ``egs/fsdd/cls1/run.sh``::

    python -m espnet_plugin.bin.classify data --corpus_dir DIR --out data
    python -m espnet_plugin.bin.classify train --task word --train data/train --config train.yaml \\
        --exp exp/word
    python -m espnet_plugin.bin.classify evaluate --task word --test data/test --exp exp/word
    python -m espnet_plugin.bin.classify curves --task word --train data/train --test data/test \\
        --exp exp/word
    python -m espnet_plugin.bin.classify mimics --task word --train data/train --test data/test \\
        --exp exp/word --config mimics.yaml
    python -m espnet_plugin.bin.classify time --task word --test data/test --exp exp/word
    python -m espnet_plugin.bin.classify report --intro intro.md --out RESULTS.md exp/word
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence

from espnet_plugin.atomic import write_json
from espnet_plugin.classify.recordings import TASKS, Recordings, read_recordings

if TYPE_CHECKING:
    from espnet_plugin.classify.classifier import Classifier


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="Classify words and speakers, and see what a stack's blocks are worth"
    )
    steps = parser.add_subparsers(dest="step", required=True)
    data = steps.add_parser("data", help="the free spoken digits as Kaldi directories")
    data.add_argument("--corpus_dir", required=True, help="folder with 7_jackson_32.wav and others")
    data.add_argument("--out", required=True, help="gets train and test")

    train = _step(steps, "train", "train a stack and a head: stack.pt and head.pt", "train")
    train.add_argument("--config", required=True, help="YAML: stack, train, batch_seconds")
    train.add_argument("--model", help="what load_stack reads, to start from; default: nothing")
    train.add_argument("--device", default="cpu")

    _step(steps, "evaluate", "accuracy with a 95 %% interval: accuracy.json", "test")

    curves = _step(
        steps, "curves", "accuracy without more and more blocks: curves.json", "train", "test"
    )
    curves.add_argument("--core", type=int, nargs="+", help="for core_first; default: the middle")
    curves.add_argument("--frames", type=int, default=1000, help="samples for the similarities")

    mimics = _step(
        steps, "mimics", "small networks for all blocks: mimics.json, mimics/", "train", "test"
    )
    mimics.add_argument("--config", required=True, help="YAML: mimics, stage1, stage2")

    time = _step(steps, "time", "the network and its mimics side by side: time.json", "test")
    time.add_argument("--recordings", type=int, default=20, help="so many of the test set")
    time.add_argument("--batch_seconds", type=float, default=0.0, help="0: one by one")
    time.add_argument("--threads", type=int, default=1, help="1: processor time is measured")

    report = steps.add_parser("report", help="tables and a plot")
    report.add_argument("exp", nargs="+", help="directories of the steps before; their names are "
                        "the headings")  # fmt: skip
    report.add_argument("--intro", required=True, help="Markdown that comes first")
    report.add_argument("--out", required=True, help="Markdown")
    report.add_argument("--plot", help="PNG of the pruning curves, beside --out")
    return parser


def _step(steps: Any, name: str, what: str, *sets: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = steps.add_parser(name, help=what)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--exp", required=True, help="directory of one trained classifier")
    for one in sets:
        parser.add_argument(f"--{one}", required=True, help="Kaldi directory")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    try:
        STEPS[args.step](args)
    except (OSError, ValueError) as error:
        sys.exit(f"classify: {error}")


def data(args: argparse.Namespace) -> None:
    """Step ``data``."""
    from espnet_plugin.data.fsdd import prepare_digits

    for name, count in prepare_digits(args.corpus_dir, args.out).items():
        logging.info("%s: %d recordings", Path(args.out) / name, count)


def train(args: argparse.Namespace) -> None:
    """Step ``train``; goes on from the checkpoint of one that was cut off."""
    from espnet_plugin.classify.configuration import new_classifier, read_configuration
    from espnet_plugin.classify.train import train_classifier

    configuration, recordings = read_configuration(args.config), _recordings(args, "train")
    classifier = new_classifier(configuration, recordings.classes, args.model).to(args.device)
    history = train_classifier(
        classifier, recordings, configuration.train, configuration.batch_seconds, args.exp
    )
    classifier.to("cpu").save(args.exp)
    write_json(Path(args.exp) / "train.json", {"model": args.model, "history": history})


def evaluate(args: argparse.Namespace) -> None:
    """Step ``evaluate``."""
    from espnet_plugin.classify.accuracy import measure

    found = measure(_classifier(args), _recordings(args, "test"))
    write_json(Path(args.exp) / "accuracy.json", found.to_dict())
    low, high = found.interval()
    print(f"{found.right}/{found.total} right: {found.value:.1%} ({low:.1%} to {high:.1%})")


def curves(args: argparse.Namespace) -> None:
    """Step ``curves``."""
    from espnet_plugin.classify.curves import prune

    train, test = _recordings(args, "train"), _recordings(args, "test")
    found = prune(_classifier(args), train, test, args.core, args.frames)
    write_json(Path(args.exp) / "curves.json", found)
    for name, curve in found["curves"].items():
        print(f"{name}: {curve['removable']} of {found['blocks']} blocks at 95 %")


def mimics(args: argparse.Namespace) -> None:
    """Step ``mimics``."""
    from espnet_plugin.classify.mimics import Lesson, accuracies, read_study

    study = read_study(args.config)
    train, test = _recordings(args, "train"), _recordings(args, "test")
    found = Lesson(_classifier(args), train, test, study).all(Path(args.exp) / "mimics")
    write_json(Path(args.exp) / "mimics.json", found)
    for mimic in found["mimics"]:
        said = (f"{name} {mimic[name]['accuracy']:.1%}" for name in accuracies(mimic))
        print(f"{mimic['name']}: {'; '.join(said)}")


def time(args: argparse.Namespace) -> None:
    """Step ``time``."""
    import torch

    from espnet_plugin.classify.speed import FULL, compare_speed
    from espnet_plugin.stacks.load import load_stack

    torch.set_num_threads(args.threads)
    stacks = {FULL: _classifier(args).stack}
    for file in sorted((Path(args.exp) / "mimics").glob("*/stack.pt")):
        stacks[file.parent.name] = load_stack(file)
    recordings = _recordings(args, "test").first(args.recordings)
    found = compare_speed(stacks, recordings, args.batch_seconds)
    write_json(Path(args.exp) / "time.json", found)
    for name, parts in found["stacks"].items():
        print(name, *(f"{part} {value['share']:.1%}" for part, value in parts.items()))


def report(args: argparse.Namespace) -> None:
    """Step ``report``."""
    from espnet_plugin.classify.report import read_results, write_report

    results = {Path(exp).name: read_results(exp) for exp in args.exp}
    intro = Path(args.intro).read_text(encoding="utf-8")
    try:
        write_report(results, args.out, intro, args.plot)
    except ImportError as error:
        raise ValueError(str(error)) from None
    logging.info("%s is written", args.out)


def _recordings(args: argparse.Namespace, part: str) -> Recordings:
    return read_recordings(getattr(args, part), args.task)


def _classifier(args: argparse.Namespace) -> Classifier:
    from espnet_plugin.classify.classifier import Classifier

    return Classifier.load(args.exp)


STEPS = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "curves": curves,
    "mimics": mimics,
    "time": time,
    "report": report,
}


if __name__ == "__main__":
    main()
