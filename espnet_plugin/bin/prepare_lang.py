"""Make a language directory: words, their pronunciations in tokens, L and L_disambig."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Dict, List, Optional, Sequence

from espnet_plugin.decode.lang.langdir import read_tokens
from espnet_plugin.decode.lang.lexicon import Entry, read_lexicon
from espnet_plugin.decode.lang.pieces import segment_words
from espnet_plugin.decode.lang.prepare import make_lang, out_of_vocabulary, report_lines
from espnet_plugin.decode.lang.words import FORMATS, count_words, read_word_list


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", required=True, help="the language directory, replaced as a whole")
    parser.add_argument("--tokens", required=True, help="the model's tokens.txt, as ESPnet has it")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lexicon", help="lines of a word and its tokens (phones)")
    source.add_argument("--bpemodel", help="a SentencePiece model that spells the words")
    parser.add_argument(
        "--lexicon_probabilities",
        action="store_true",
        help="the lexicon's second column is the pronunciation's probability",
    )
    parser.add_argument(
        "--num_segmentations",
        type=int,
        default=1,
        help="of a word, the most probable first (more than one: unigram models)",
    )
    parser.add_argument("--words", help="file with the words; of a lexicon, all if not given")
    parser.add_argument("--words_format", default="list", choices=FORMATS)
    parser.add_argument(
        "--text", nargs="+", default=[], help="Kaldi text whose words outside are counted"
    )
    parser.add_argument("--silence", help="token that may stand at the start and after words")
    parser.add_argument("--silence_probability", type=float, default=0.5)
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.bpemodel and not args.words:
        parser.error("--bpemodel needs --words (and --words_format)")
    start = time.monotonic()
    try:
        tokens = read_tokens(args.tokens)
        entries, unspelt = _entries(args, tokens)
        lang = make_lang(entries, tokens, args.silence, args.silence_probability)
        missing = out_of_vocabulary(lang.words, count_words(args.text))
        lang.save(
            args.out, {"unspelt.txt": report_lines(unspelt), "oov.txt": report_lines(missing)}
        )
    except (OSError, ValueError) as error:
        sys.exit(f"prepare_lang: {error}")
    logging.info(
        "%s: %d words, %d pronunciations in %.1f s; %d words without one, see unspelt.txt",
        args.out,
        len(lang.words) - 1,
        len(lang.pronunciations),
        time.monotonic() - start,
        len(unspelt),
    )


def _entries(args: argparse.Namespace, tokens: Sequence[str]) -> tuple[List[Entry], Dict[str, str]]:
    wanted = read_word_list(args.words, args.words_format) if args.words else None
    if args.bpemodel:
        return segment_words(wanted or [], args.bpemodel, tokens, args.num_segmentations)
    entries = read_lexicon(args.lexicon, tokens, args.lexicon_probabilities)
    if wanted is None:
        return entries, {}
    asked, known = set(wanted), {entry.word for entry in entries}
    unspelt = {word: "not in the lexicon" for word in wanted if word not in known}
    return [entry for entry in entries if entry.word in asked], unspelt


if __name__ == "__main__":
    main()
