"""What is counted: words, characters or SentencePiece tokens of a text, as ESPnet's scoring."""

from __future__ import annotations

from typing import Any, List, Optional

UNITS = ("wer", "cer", "ter")


class Tokenizer:
    """Split text as ESPnet's tokenizers do (without importing ESPnet, which takes seconds).

    Args:
        unit: ``wer`` words; ``cer`` characters, where a space counts as one, ``<space>``;
            ``ter`` pieces of ``bpemodel``.
        bpemodel: a SentencePiece model, for ``ter``.

    Raises:
        ValueError: if the unit is unknown, or is ``ter`` without a model.
    """

    def __init__(self, unit: str, bpemodel: Optional[str] = None) -> None:
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
        self.unit = unit
        self.pieces: Any = None
        if unit == "ter":
            if bpemodel is None:
                raise ValueError("ter needs a SentencePiece model")
            import sentencepiece

            self.pieces = sentencepiece.SentencePieceProcessor()
            self.pieces.load(bpemodel)

    def __call__(self, text: str) -> List[str]:
        """The tokens of ``text``; runs of white space count as one space."""
        words = text.split()
        if self.unit == "wer":
            return words
        if self.unit == "cer":
            return ["<space>" if character == " " else character for character in " ".join(words)]
        return self.pieces.encode_as_pieces(" ".join(words))
