"""From pronunciations to a language directory, with a report of the words it lacks."""

from __future__ import annotations

import logging
from typing import Dict, Iterable, List, Mapping, Optional, Sequence

from espnet_plugin.decode.lang.langdir import EPSILON, LangDir
from espnet_plugin.decode.lang.lexicon import Entry
from espnet_plugin.decode.lang.pronunciations import Pronunciations

logger = logging.getLogger(__name__)


def make_lang(
    entries: Sequence[Entry],
    tokens: Sequence[str],
    silence: Optional[str] = None,
    silence_probability: float = 0.5,
) -> LangDir:
    """A language directory, in memory, of these pronunciations; its words are in sorted order.

    Args:
        entries: distinct pronunciations, at least one.
        tokens: the model's outputs in ESPnet's order, the blank first.
        silence: the token of optional silence, or None for no silence.
        silence_probability: of silence at the start and after each word.

    Raises:
        ValueError: no entries, a silence that is no token, a probability not between 0 and 1.
    """
    if not entries:
        raise ValueError("no word has a pronunciation in these tokens")
    if silence is not None and silence not in tokens[1:]:
        raise ValueError(f"the silence {silence!r} is not in the token list")
    if not 0 < silence_probability < 1:
        raise ValueError(f"silence_probability must be between 0 and 1, not {silence_probability}")
    words = [EPSILON, *sorted({entry.word for entry in entries})]
    ids = {word: i for i, word in enumerate(words)}
    prons = Pronunciations.from_entries((ids[e.word], e.tokens, e.probability) for e in entries)
    return LangDir(
        list(tokens),
        words,
        prons,
        None if silence is None else list(tokens).index(silence),
        silence_probability,
    )


def out_of_vocabulary(words: Iterable[str], counts: Mapping[str, int]) -> Dict[str, int]:
    """The words of a text that are not among ``words``, the most frequent first; logged too."""
    known = set(words)
    missing = {word: count for word, count in counts.items() if word not in known}
    ranked = dict(sorted(missing.items(), key=lambda item: (-item[1], item[0])))
    running, total = sum(ranked.values()), sum(counts.values())
    if total:
        some = ", ".join(f"{word} {count}" for word, count in list(ranked.items())[:10])
        logger.info(
            "out of vocabulary: %d of %d running words (%.2f %%), %d of %d distinct words%s",
            running,
            total,
            100 * running / total,
            len(ranked),
            len(counts),
            f": {some}{', …' if len(ranked) > 10 else ''}" if ranked else "",
        )
    return ranked


def report_lines(missing: Mapping[str, object]) -> List[str]:
    """Words and what is known of them, a line each."""
    return [f"{word} {what}" for word, what in missing.items()]
