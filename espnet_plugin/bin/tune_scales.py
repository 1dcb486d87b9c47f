"""Find the scales with the fewest word errors on a development set, from stored lattices.

::

    python -m espnet_plugin.bin.tune_scales --lattices exp/asr/decode/dev/lattices \\
        --text data/dev/text --method whole_lattice_rescoring --lm data/lm/4gram.arpa \\
        --out exp/asr/scales.yaml

The YAML is for ``--config`` of ``asr_inference_k2``; a table of all settings goes beside it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

import yaml

from espnet_plugin.atomic import atomic_open
from espnet_plugin.progress import progress

if TYPE_CHECKING:
    from espnet_plugin.decode.rescore.tune import Trial

SCALES = ("acoustic", "hlg", "lm", "word")
METHODS = ("hlg", "nbest_rescoring", "whole_lattice_rescoring")


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="Find scales on a development set from stored lattices",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lattices", required=True, help="what asr_inference_k2 stored")
    parser.add_argument("--text", required=True, help="reference text, Kaldi format")
    parser.add_argument("--method", default="hlg", choices=METHODS)
    parser.add_argument("--lm", help="ARPA (or G.pt for whole lattices) of the rescoring methods")
    parser.add_argument("--num_paths", type=int, default=100, help="length of n-best lists")
    some = [0.5, 0.7, 1.0, 1.4, 2.0]
    values = {"acoustic": some, "hlg": [1.0], "lm": some, "word": [0.0]}
    for name in SCALES:
        parser.add_argument(
            f"--{name}_scale", type=float, nargs="+", default=values[name], help="to try"
        )
    parser.add_argument("--out", required=True, help="YAML; the table has its name with .md")
    return parser


def tune(args: argparse.Namespace) -> List[Trial]:
    """Count the errors of every setting; the best one is the first.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """
    from espnet_plugin.compat import require_k2
    from espnet_plugin.data.kaldi import read_table
    from espnet_plugin.decode.methods import Rescorer
    from espnet_plugin.decode.rescore import Tuner, grid, nbest_paths, ngram_rescoring
    from espnet_plugin.decode.scales import Scales, set_scores
    from espnet_plugin.decode.store import LatticeStore
    from espnet_plugin.decode.stored import store_text

    require_k2()
    store = LatticeStore(args.lattices)
    references = {name: text.split() for name, text in read_table(args.text).items()}
    missing = [name for name in store.utterances if name not in references]
    if missing:
        raise ValueError(f"{args.text}: no {missing[0]} ({len(missing)} missing)")
    text = store_text(store)
    rescorer = Rescorer(args.method, text, store.meta["words"], lm=args.lm)
    settings = grid(**{name: getattr(args, f"{name}_scale") for name in SCALES})
    tuner = Tuner(settings, rescorer.to_words)
    for names, lattice in progress(store.batches(), f"tune on {store.directory}"):
        spoken = [references[name] for name in names]
        lattice = set_scores(lattice, Scales())
        if args.method == "nbest_rescoring":
            paths = nbest_paths(lattice, args.num_paths, names=names)
            tuner.add_nbest(ngram_rescoring(paths, rescorer.lm, rescorer.to_words), spoken)
        else:
            if args.method == "whole_lattice_rescoring":
                lattice = rescorer.with_new_lm(lattice, names)
            tuner.add_lattice(lattice, spoken)
    lost = [name for name, place in store.places.items() if place is None]
    tuner.add_nbest([[] for _ in lost], [references[name] for name in lost])
    best = tuner.best()
    others = [trial for trial in tuner.trials() if trial.scales != best.scales]
    return [best, *sorted(others, key=lambda trial: trial.counts.errors)]


def write(trials: Sequence[Trial], out: Path, args: argparse.Namespace) -> None:
    """The best setting as YAML, all of them as a Markdown table."""
    values: dict[str, Any] = {"method": args.method}
    values.update({f"{name}_scale": asdict(trials[0].scales)[name] for name in SCALES})
    with atomic_open(out) as stream:
        stream.write(
            f"# Found by tune_scales: {trials[0].counts.error_rate or 0:.2f} % word errors\n"
        )
        yaml.safe_dump(values, stream, sort_keys=False)
    with atomic_open(out.with_suffix(".md")) as stream:
        stream.write("| " + " | ".join(SCALES) + " | errors | WER |\n" + "|---" * 6 + "|\n")
        for trial in trials:
            scales = [f"{getattr(trial.scales, name):g}" for name in SCALES]
            counts = trial.counts
            stream.write(
                f"| {' | '.join(scales)} | {counts.errors} | {counts.error_rate or 0:.2f} |\n"
            )


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    try:
        trials = tune(args)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"tune_scales: {error}")
    write(trials, Path(args.out), args)
    best = trials[0]
    logging.info("%s: %s, %.2f %% word errors", args.out, best.scales, best.counts.error_rate or 0)


if __name__ == "__main__":
    main()
