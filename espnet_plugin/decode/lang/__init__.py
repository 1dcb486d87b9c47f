"""The language directory: words, their pronunciations in tokens, and L."""

from __future__ import annotations

from espnet_plugin.decode.lang.langdir import LangDir
from espnet_plugin.decode.lang.lexicon import read_lexicon
from espnet_plugin.decode.lang.pieces import segment_words
from espnet_plugin.decode.lang.prepare import make_lang
from espnet_plugin.decode.lang.pronunciations import Pronunciations

__all__ = ["LangDir", "Pronunciations", "make_lang", "read_lexicon", "segment_words"]
