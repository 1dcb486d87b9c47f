"""What stored lattices say: density, oracle WER, n-best lists, word times, a picture.

::

    python -m espnet_plugin.bin.lattice density LATTICE_DIR
    python -m espnet_plugin.bin.lattice oracle LATTICE_DIR --ref data/test/text
    python -m espnet_plugin.bin.lattice nbest LATTICE_DIR --num_paths 10 --out nbest.tsv
    python -m espnet_plugin.bin.lattice ctm LATTICE_DIR --out test.ctm
    python -m espnet_plugin.bin.lattice svg LATTICE_DIR --utterance ID --out ID.svg
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

logger = logging.getLogger(__name__)

SCALES = ("acoustic", "hlg", "lm", "word")


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description="What stored lattices say")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("lattice_dir", help="what asr_inference_k2 --lattice_dir wrote")
    common.add_argument("--key_file", help="only the utterances of this file")
    for name in SCALES:
        common.add_argument(f"--{name}_scale", type=float, help="instead of the store's")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, parents=[common], help=text, description=text, formatter_class=formatter
        )

    one = add("density", "arcs per frame, of each utterance and in total")
    one.add_argument("--out", help="JSON")
    one = add("oracle", "least number of word errors of any path, and WER")
    one.add_argument("--ref", required=True, help="reference text")
    one.add_argument("--out", help="JSON")
    one = add("nbest", "n-best lists with separate acoustic, n-gram and lexicon scores")
    one.add_argument("--num_paths", type=int, default=10, help="length of the lists")
    one.add_argument("--out", help="TSV; standard output by default")
    one = add("ctm", "words of the best path with times and confidences (Kaldi's CTM)")
    one.add_argument("--out", required=True, help="CTM; a JSON of the same name goes beside it")
    one.add_argument(
        "--posterior_scale", type=float, default=1.0, help="of scores in forward-backward"
    )
    for option, text in (
        ("split", "share of a gap between two words that the first gets; 0.5"),
        ("reach", "seconds that a word extends beyond its tokens' spikes at most; 0.06"),
        ("shift", "seconds added to every time; 0"),
    ):
        one.add_argument(f"--{option}", type=float, help=text)
    one.add_argument("--timing", help="JSON of these three from bin.align; options go first")
    one = add("svg", "a picture of one lattice")
    one.add_argument("--utterance", required=True, help="which one")
    one.add_argument("--out", required=True, help="SVG")
    one.add_argument("--num_paths", type=int, default=50, help="most sequences drawn")
    one.add_argument("--beam", type=float, default=8.0, help="leave worse sequences out")
    return parser


class Stored:
    """A lattice directory as the options see it.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from espnet_plugin.compat import require_k2
        from espnet_plugin.data.kaldi import read_ids
        from espnet_plugin.decode.lattices.alignment import Labels
        from espnet_plugin.decode.scales import Scales
        from espnet_plugin.decode.store import LatticeStore

        require_k2()
        self.store = LatticeStore(args.lattice_dir)
        self.labels = Labels(self.store.meta)
        known = {field.name for field in fields(Scales)}
        values = {k: v for k, v in self.store.meta.get("scales", {}).items() if k in known}
        for name in SCALES:
            if getattr(args, f"{name}_scale") is not None:
                values[name] = getattr(args, f"{name}_scale")
        self.scales = Scales(**values)
        self.names = read_ids(args.key_file) if args.key_file else self.store.utterances
        for name in self.names:
            if name not in self.store.places:
                raise ValueError(f"{args.key_file}: no lattice of {name} in {args.lattice_dir}")
        self.missing = [name for name in self.names if self.store.places[name] is None]

    @property
    def seconds_per_frame(self) -> float:
        value = self.store.meta.get("seconds_per_frame")
        if value is None:
            raise ValueError(f"{self.store.directory}/meta.json: no seconds per frame, so no times")
        return float(value)

    def batches(self) -> Any:
        """(names, FsaVec with scores by the scales) of what was asked for."""
        from espnet_plugin.decode.scales import set_scores
        from espnet_plugin.progress import progress

        count = len({place[0] for name in self.names if (place := self.store.places[name])})
        for names, fsa in progress(self.store.batches(self.names), "lattices", total=count):
            yield names, set_scores(fsa, self.scales)


def density(args: argparse.Namespace, stored: Stored) -> None:
    """Print and write densities."""
    from espnet_plugin.decode.lattices.density import Density, densities, total

    found: Dict[str, Density] = {}
    for names, fsa in stored.batches():
        found.update(zip(names, densities(fsa), strict=True))
    print("utterance\tframes\tarcs\tdensity")
    for name in stored.names:
        if name in found:
            one = found[name]
            print(f"{name}\t{one.frames}\t{one.arcs}\t{one.density:.2f}")
    every = total(found.values())
    print(f"total of {len(found)}\t{every.frames}\t{every.arcs}\t{every.density:.2f}")

    def value(one: Density) -> Dict[str, Any]:
        return {"frames": one.frames, "arcs": one.arcs, "density": round(one.density, 4)}

    utterances = {name: value(found[name]) for name in stored.names if name in found}
    _write(args.out, {"total": value(every), "utterances": utterances, "missing": stored.missing})


def nbest(args: argparse.Namespace, stored: Stored) -> None:
    """Write n-best lists."""
    from espnet_plugin.atomic import atomic_open
    from espnet_plugin.decode.rescore.nbest import nbest_paths

    lines = ["utterance\trank\tscore\tam_score\tlm_score\tlexicon_score\ttext\n"]
    for names, fsa in stored.batches():
        for name, paths in zip(names, nbest_paths(fsa, args.num_paths, names=names), strict=True):
            for rank, path in enumerate(paths, 1):
                parts = (path.score(stored.scales), path.am_score, path.lm_score)
                values = "\t".join(f"{value:.4f}" for value in (*parts, path.lexicon_score))
                lines.append(f"{name}\t{rank}\t{values}\t{stored.labels.text(path.labels)}\n")
    if args.out is None:
        sys.stdout.writelines(lines)
        return
    with atomic_open(args.out) as stream:
        stream.writelines(lines)


def ctm(args: argparse.Namespace, stored: Stored) -> None:
    """Write the CTM and its JSON, print how sure the words are."""
    from espnet_plugin.bin.align import read_timing
    from espnet_plugin.decode.lattices.ctm import Item, write_ctm
    from espnet_plugin.decode.lattices.posteriors import best_words

    timing, frame = read_timing(args), stored.seconds_per_frame
    found: Dict[str, List[Item]] = {}
    for names, fsa in stored.batches():
        best = best_words(fsa, stored.labels, args.posterior_scale)
        for name, path in zip(names, best, strict=True):
            spans = [(word.first, word.last) for word in path.words]
            times = timing.boundaries(spans, frame, path.frames * frame)
            found[name] = [
                (word.text, start, end - start, confidence)
                for word, confidence, (start, end) in zip(
                    path.words, path.confidences, times, strict=True
                )
            ]
    items = {name: found[name] for name in stored.names if name in found}
    write_ctm(args.out, items)
    keys = ("word", "start", "duration", "confidence")
    _write(
        Path(args.out).with_suffix(".json"),
        {
            name: [dict(zip(keys, (one[0], *(round(v, 4) for v in one[1:])), strict=True))
                   for one in words]
            for name, words in items.items()
        },
    )  # fmt: skip
    sure = [one[3] for words in items.values() for one in words]
    mean = sum(sure) / len(sure) if sure else 0.0
    print(f"{len(items)} utterances, {len(sure)} words, mean confidence {mean:.4f}: {args.out}")


def oracle(args: argparse.Namespace, stored: Stored) -> None:
    """Print and write the errors of the best path and the fewest of any path."""
    from espnet_plugin.decode.lattices.posteriors import best_words
    from espnet_plugin.decode.rescore.oracle import count_words, lattice_oracle
    from espnet_plugin.score.counts import Counts
    from espnet_plugin.score.sets import read_text

    references = {name: text.split() for name, text in read_text(args.ref).items()}
    for name in stored.names:
        if name not in references:
            raise ValueError(f"{args.ref}: no {name}")
    found: Dict[str, Tuple[Counts, Counts]] = {}
    for name in stored.missing:
        nothing = count_words(references[name], [])
        found[name] = (nothing, nothing)
    for names, fsa in stored.batches():
        own = [references[name] for name in names]
        fewest = lattice_oracle(fsa, own, stored.labels.units())
        for name, words, path, least in zip(
            names, own, best_words(fsa, stored.labels), fewest, strict=True
        ):
            text = " ".join(word.text for word in path.words)
            found[name] = (count_words(words, text.split()), least)
    print("utterance\twords\tbest path\toracle")
    for name in stored.names:
        best, least = found[name]
        print(f"{name}\t{best.tokens}\t{best.errors}\t{least.errors}")
    size, errors = (
        (sum(one.tokens for one, _ in found.values())),
        [sum(pair[i].errors for pair in found.values()) for i in (0, 1)],
    )
    rates = [round(100 * count / max(1, size), 3) for count in errors]
    print(f"total of {len(found)}\t{size}\t{errors[0]}\t{errors[1]}")
    print(f"WER: best path {rates[0]:.2f} %, oracle {rates[1]:.2f} %")
    total = {
        "words": size,
        "best_errors": errors[0],
        "oracle_errors": errors[1],
        "best_wer": rates[0],
        "oracle_wer": rates[1],
    }
    utterances = {
        name: {"words": best.tokens, "best_errors": best.errors, "oracle_errors": least.errors}
        for name, (best, least) in ((name, found[name]) for name in stored.names)
    }
    _write(args.out, {"total": total, "utterances": utterances, "missing": stored.missing})


def svg(args: argparse.Namespace, stored: Stored) -> None:
    """Write a picture."""
    from espnet_plugin.atomic import atomic_open
    from espnet_plugin.decode.lattices.svg import draw
    from espnet_plugin.decode.lattices.word_graph import sequences, word_graph

    stored.names, stored.missing = [args.utterance], []
    if args.utterance not in stored.store.places:
        raise ValueError(f"{args.lattice_dir}: no lattice of {args.utterance}")
    batches = list(stored.batches())
    if not batches:
        raise ValueError(f"{args.utterance} has no lattice: its search found no path")
    ((_, fsa),) = batches
    found = sequences(fsa, stored.labels, stored.scales, args.num_paths, args.beam)
    graph = word_graph(found)
    title = (
        f"{args.utterance}: {len(found)} sequences within {args.beam:g}, {len(graph.edges)} arcs"
    )
    with atomic_open(args.out) as stream:
        stream.write(draw(graph, stored.seconds_per_frame, title))
    print(f"{title}: {args.out}")


def _write(path: Any, value: Any) -> None:
    from espnet_plugin.atomic import write_json

    if path is not None:
        write_json(path, value)


COMMANDS = {"density": density, "oracle": oracle, "nbest": nbest, "ctm": ctm, "svg": svg}


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    try:
        stored = Stored(args)
        COMMANDS[args.command](args, stored)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"lattice: {error}")
    for name in stored.missing:
        logger.warning("%s has no lattice: its search found no path", name)


if __name__ == "__main__":
    main()
