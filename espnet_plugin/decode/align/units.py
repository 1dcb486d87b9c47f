"""The tokens of a transcript, and which word each belongs to."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from espnet_plugin.decode.align.transcript import (
    Transcript,
    lexicon_transcript,
    linear_transcript,
)
from espnet_plugin.decode.lang.lexicon import Entry

WORD_START = "▁"  # SentencePiece's word boundary mark
SPACE = "<space>"
UNKNOWN = "<unk>"


class AlignError(ValueError):
    """An utterance that cannot be aligned; the message is the reason."""


class TokenUnits:
    """Transcripts through the model's own tokenizer.

    Args:
        token_list: the model's tokens, the blank first.
        token_type: ``bpe``, ``char`` or ``word``.
        bpemodel: the SentencePiece model; needed for ``bpe``.
        cleaner: ESPnet's text cleaner of the training, if it had one.

    Raises:
        ValueError: another token type, or ``bpemodel`` cannot be read.
    """

    level = "token"

    def __init__(
        self,
        token_list: Sequence[str],
        token_type: str,
        bpemodel: Optional[str] = None,
        cleaner: Any = None,
    ) -> None:
        from espnet2.text.build_tokenizer import build_tokenizer
        from espnet2.text.cleaner import TextCleaner

        if token_type not in ("bpe", "char", "word"):
            raise ValueError(
                f"a model of token_type {token_type} is aligned with --lexicon (words to tokens)"
            )
        self.numbers = {token: i for i, token in enumerate(token_list)}
        self.token_type = token_type
        try:
            self.tokenizer = build_tokenizer(
                token_type=token_type, bpemodel=bpemodel, space_symbol=SPACE
            )
            self.tokenizer.text2tokens("")  # only now it reads the file
        except (OSError, RuntimeError):
            raise ValueError(f"{bpemodel}: no SentencePiece model is in this file") from None
        self.cleaner = TextCleaner(cleaner)

    def __call__(self, text: str) -> Tuple[Transcript, List[str]]:
        """The transcript of a text and its words.

        Raises:
            AlignError: the text is empty, or holds what the model has no token for.
        """
        words = self.cleaner(text).split()
        if not words:
            raise AlignError("its text is empty")
        tokens = self.tokenizer.text2tokens(" ".join(words))
        unknown = [t for t in tokens if self.numbers.get(t, 0) == 0 or t == UNKNOWN]
        if unknown:
            raise AlignError(f"the model has no token {unknown[0]!r}")
        places = self._places(tokens)
        if max((p for p in places if p is not None), default=-1) != len(words) - 1:
            raise AlignError(f"its {len(words)} words are not those of the tokens")
        return linear_transcript([self.numbers[t] for t in tokens], places), words

    def _places(self, tokens: Sequence[str]) -> List[Optional[int]]:
        if self.token_type == "word":
            return list(range(len(tokens)))
        places: List[Optional[int]] = []
        word = -1 if self.token_type == "bpe" else 0
        for token in tokens:
            if token == SPACE:
                word += 1
                places.append(None)
                continue
            word += self.token_type == "bpe" and token.startswith(WORD_START)
            places.append(max(word, 0))
        return places


class LexiconUnits:
    """Transcripts through a pronunciation lexicon.

    Args:
        entries: of :func:`espnet_plugin.decode.lang.lexicon.read_lexicon` over ``token_list``.
        token_list: the model's tokens, the blank first.
        silence: the token that may stand between words; None: there is none.

    Raises:
        ValueError: the model does not have ``silence``.
    """

    level = "phone"

    def __init__(
        self, entries: Iterable[Entry], token_list: Sequence[str], silence: Optional[str] = None
    ) -> None:
        if silence is not None and silence not in token_list:
            raise ValueError(f"the model has no token {silence} for silence")
        self.silence = list(token_list).index(silence) if silence is not None else None
        self.lexicon: Dict[str, List[Tuple[int, ...]]] = {}
        for entry in entries:
            self.lexicon.setdefault(entry.word, []).append(entry.tokens)

    def __call__(self, text: str) -> Tuple[Transcript, List[str]]:
        """The transcript of a text and its words.

        Raises:
            AlignError: the text is empty, or has a word that the lexicon lacks.
        """
        words = text.split()
        if not words:
            raise AlignError("its text is empty")
        missing = [word for word in words if word not in self.lexicon]
        if missing:
            raise AlignError(f"the lexicon has no {missing[0]}")
        return lexicon_transcript([self.lexicon[word] for word in words], self.silence), words
