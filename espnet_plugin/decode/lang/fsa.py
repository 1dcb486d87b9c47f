"""L and L_disambig as the arcs of a k2 transducer, written as arrays without k2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np
import torch
from numpy.typing import NDArray

from espnet_plugin.decode.lang.pronunciations import Pronunciations

if TYPE_CHECKING:
    from espnet_plugin.decode.lang.langdir import LangDir

Ints = NDArray[np.int64]


def disambiguation(prons: Pronunciations) -> Ints:
    """The disambiguation symbol that each pronunciation ends with in L_disambig.

    A pronunciation of several words, or one that begins another, needs a symbol, so that L∘G
    can be determinised (Mohri, Pereira, Riley 2002, section 3).

    Returns:
        (R) 0 for none, else i for ``#i``; pronunciations that are alike have different symbols.
    """
    tokens = prons.padded()
    order = np.lexsort(tokens.T[::-1])
    common = (tokens[order][1:] == tokens[order][:-1]) & (tokens[order][1:] >= 0)
    shared = np.append(np.cumprod(common, axis=1).sum(axis=1), 0)
    length = prons.length[order]
    begins_next = shared == length
    alike = begins_next[:-1] & (length[1:] == length[:-1])  # as the next one
    first = np.flatnonzero(np.append(True, ~alike))
    group = np.cumsum(np.append(True, ~alike)) - 1
    size = np.diff(np.append(first, len(order)))
    needed = (size > 1) | begins_next[first + size - 1]
    symbols = np.zeros(len(prons), dtype=np.int64)
    symbols[order] = np.where(needed[group], np.arange(len(order)) - first[group] + 1, 0)
    return symbols


def count_disambiguation(prons: Pronunciations, silence: bool) -> int:
    """How many symbols L_disambig has besides ``#0``, that of silence included."""
    return int(disambiguation(prons).max(initial=0)) + silence


def lexicon_arcs(lang: LangDir, disambiguate: bool) -> Dict[str, Any]:
    """L, or L_disambig, in the form that ``k2.Fsa.from_dict`` takes.

    Every pronunciation is a cycle of arcs; its first arc has the word and the score. With
    silence there are two more states: a start, and one where silence must be said.

    Args:
        lang: words and pronunciations.
        disambiguate: add the disambiguation symbols, ``#0`` as a loop between words included.

    Returns:
        ``arcs`` (A, 4) and ``aux_labels`` (A), int32; sorted by source.
    """
    prons, vocab_size = lang.pronunciations, len(lang.tokens)
    length, tokens = prons.length, prons.tokens
    highest = 0
    if disambiguate:
        symbols = disambiguation(prons)
        highest = int(symbols.max(initial=0))
        length = length + (symbols > 0)
        ends = np.cumsum(prons.length)[symbols > 0]
        tokens = np.insert(tokens, ends, vocab_size + symbols[symbols > 0])
    silent = lang.silence is not None
    start, between, pause = (0, 1, 2) if silent else (0, 0, -1)
    with_silence = math.log(lang.silence_probability) if silent else 0.0
    without = math.log1p(-lang.silence_probability) if silent else 0.0

    owner = np.repeat(np.arange(len(prons)), length)
    place = np.arange(len(owner)) - (np.cumsum(length) - length)[owner]
    first, last = place == 0, place == length[owner] - 1
    inner = (3 if silent else 1) + np.cumsum(~last) - 1  # the state after a token, if not last
    source = np.where(first, between, np.append(0, inner[:-1]))
    word = np.where(first, prons.word[owner], 0)
    score = np.where(first, prons.log_prob[owner], 0.0)
    columns: List[List[Any]] = [
        [source, np.where(last, between, inner), tokens, word, score + np.where(last, without, 0)]
    ]
    free = (3 if silent else 1) + int((~last).sum())
    if silent:
        columns.append([source[last], pause, tokens[last], word[last], score[last] + with_silence])
        columns.append([start, between, 0, 0, without])
        columns.append([start, pause, 0, 0, with_silence])
        if disambiguate:
            columns.append([pause, free, lang.silence, 0, 0.0])
            columns.append([free, between, vocab_size + highest + 1, 0, 0.0])
            free += 1
        else:
            columns.append([pause, between, lang.silence, 0, 0.0])
    if disambiguate:
        columns.append([between, between, vocab_size, len(lang.words), 0.0])
    columns.append([between, free, -1, -1, 0.0])
    whole = [
        np.concatenate(parts)
        for parts in zip(
            *(np.broadcast_arrays(*map(np.atleast_1d, c)) for c in columns), strict=True
        )
    ]
    order = np.argsort(whole[0], kind="stable")
    table = np.stack([column[order] for column in whole[:4]], axis=1).astype(np.int32)
    arcs = torch.from_numpy(table)
    aux_labels = arcs[:, 3].clone()
    arcs[:, 3] = torch.from_numpy(whole[4][order].astype(np.float32)).view(torch.int32)
    return {"arcs": arcs, "aux_labels": aux_labels}
