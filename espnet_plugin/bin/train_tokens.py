"""Train a SentencePiece model from Kaldi text files; write it with ESPnet's token list."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Optional, Sequence

from espnet_plugin.data.tokens import read_transcripts, train_tokens


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--text", nargs="+", required=True, help="Kaldi text files")
    parser.add_argument("--out", required=True, help="gets bpe.model and tokens.txt")
    parser.add_argument("--vocab_size", type=int, required=True, help="pieces, unknown included")
    parser.add_argument("--model_type", choices=["unigram", "bpe"], default="unigram")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    try:
        sentences = read_transcripts(args.text)
        model, tokens = train_tokens(sentences, args.out, args.vocab_size, args.model_type)
    except (OSError, ValueError) as error:
        sys.exit(f"train_tokens: {error}")
    logging.info("%d sentences: %s, %s", len(sentences), model, tokens)


if __name__ == "__main__":
    main()
