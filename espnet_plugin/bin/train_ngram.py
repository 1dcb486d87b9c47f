"""Train an n-gram language model and write it as an ARPA file.

    python -m espnet_plugin.bin.train_ngram --text data/train/text --text_type kaldi \\
        --order 3 --out data/lm/3gram.arpa.gz --perplexity data/dev/text
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet_plugin.lm import NGram, NGramError, train_ngram
from espnet_plugin.lm.entropy_prune import check_threshold, entropy_prune
from espnet_plugin.lm.lmplz import find_lmplz, train_lmplz
from espnet_plugin.lm.perplexity import perplexity
from espnet_plugin.lm.text import CASES, read_sentences, read_vocabulary, read_word_counts
from espnet_plugin.progress import progress

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="Train a modified Kneser-Ney n-gram model; write it as an ARPA file",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--text", nargs="+", required=True, help="sentence a line; plain or gzip")
    parser.add_argument(
        "--text_type",
        choices=["plain", "kaldi"],
        default="plain",
        help="kaldi: lines of --text and --perplexity begin with an utterance id",
    )
    parser.add_argument("--order", type=int, default=3, help="longest n-gram")
    parser.add_argument("--out", required=True, help="the ARPA file; gzip if it ends in .gz")
    parser.add_argument(
        "--vocabulary", help="word a line, or a words.txt: all other words become <unk>"
    )
    parser.add_argument(
        "--word_counts", help="lines of a word and its count: they replace the uniform distribution"
    )
    parser.add_argument("--case", choices=list(CASES), default="keep", help="of --word_counts")
    parser.add_argument(
        "--prune",
        nargs="+",
        type=int,
        default=[0],
        help="by order, leave out n-grams seen as often or less; the last holds for higher orders",
    )
    parser.add_argument(
        "--entropy_prune",
        type=float,
        help="leave out n-grams without which perplexity rises by less than this; such as 1e-8",
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "lmplz", "own"],
        default="auto",
        help="auto: KenLM's lmplz if it is on PATH and no option needs our own",
    )
    parser.add_argument("--perplexity", nargs="+", help="texts to measure the model on")
    return parser


def choose_engine(args: argparse.Namespace) -> str:
    """``lmplz`` or ``own``.

    Raises:
        NGramError: lmplz is asked for together with what it cannot do.
    """
    own_only = [name for name in ("vocabulary", "word_counts") if getattr(args, name) is not None]
    if args.engine == "lmplz" and own_only:
        raise NGramError(f"--{own_only[0]} needs --engine own: lmplz has nothing like it")
    if args.engine == "auto":
        return "own" if own_only or find_lmplz() is None else "lmplz"
    return args.engine


def train(args: argparse.Namespace) -> NGram:
    """Train and write the model of the options."""
    for path in (*args.text, *(args.perplexity or ())):  # not after hours
        if not Path(path).exists():
            raise NGramError(f"{path}: not there")
    if args.entropy_prune is not None:
        check_threshold(args.entropy_prune)
    sentences = progress(read_sentences(args.text, args.text_type == "kaldi"), "sentences")
    engine = choose_engine(args)
    logger.info("engine: %s", engine)
    if engine == "lmplz":
        train_lmplz(sentences, args.order, args.out, args.prune)
        model = NGram.load(args.out)
    else:
        vocabulary = read_vocabulary(args.vocabulary) if args.vocabulary else None
        counts = read_word_counts(args.word_counts, args.case) if args.word_counts else None
        model = train_ngram(sentences, args.order, vocabulary, args.prune, counts)
    if args.entropy_prune is not None:
        model = entropy_prune(model, args.entropy_prune)
    if engine == "own" or args.entropy_prune is not None:
        model.save(args.out)
    return model


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    try:
        model = train(args)
        sizes = ", ".join(f"{count} {n}-grams" for n, count in enumerate(model.counts, 1))
        logger.info("%s: %s", args.out, sizes)
        for path in args.perplexity or ():
            found = perplexity(model, read_sentences([path], args.text_type == "kaldi"))
            print(f"{path}: {found}")
    except (NGramError, OSError) as error:
        sys.exit(f"train_ngram: {error}")


if __name__ == "__main__":
    main()
