"""What is counted: words, characters or SentencePiece tokens of a text, as ESPnet's scoring."""

from __future__ import annotations

from typing import Any, List, Optional

from espnet2.text.build_tokenizer import build_tokenizer

UNITS = ("wer", "cer", "ter")


class Tokenizer:
    """Split text for one of :data:`UNITS`.

    Args:
        unit: ``wer`` words; ``cer`` characters, where a space counts as one, ``<space>``;
            ``ter`` pieces of ``bpemodel``.
        bpemodel: a SentencePiece model, for ``ter``.
    """

    def __init__(self, unit: str, bpemodel: Optional[str] = None) -> None:
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
        kinds = {"wer": "word", "cer": "char", "ter": "bpe"}
        model = bpemodel if unit == "ter" else None
        self.tokenizer: Any = build_tokenizer(token_type=kinds[unit], bpemodel=model)

    def __call__(self, text: str) -> List[str]:
        """The tokens of ``text``; runs of white space count as one space."""
        words = text.split()
        return self.tokenizer.text2tokens(" ".join(words)) if words else []
