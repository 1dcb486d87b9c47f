"""What an utterance may sound like: an automaton over tokens, and its CTC graph in k2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

import torch

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class TokenArc:
    """One token between two states of a :class:`Transcript`.

    Attributes:
        source: state that it leaves.
        target: state that it enters; above ``source``.
        token: number of a CTC output, above 0.
        word: place of its word in the utterance; None outside words.
    """

    source: int
    target: int
    token: int
    word: Optional[int]


@dataclass(frozen=True)
class Transcript:
    """The token sequences that an utterance may have: all paths from state 0 to a final state.

    Attributes:
        arcs: without cycles and without epsilons.
        finals: final states; state 0 is one of them only if the utterance may be empty.
    """

    arcs: List[TokenArc]
    finals: Tuple[int, ...]


def linear_transcript(tokens: Sequence[int], words: Sequence[Optional[int]]) -> Transcript:
    """The one sequence ``tokens``, each with the place of its word (or None)."""
    pairs = enumerate(zip(tokens, words, strict=True))
    arcs = [TokenArc(i, i + 1, token, word) for i, (token, word) in pairs]
    return Transcript(arcs, (len(arcs),))


def lexicon_transcript(
    pronunciations: Sequence[Sequence[Sequence[int]]], silence: Optional[int] = None
) -> Transcript:
    """Every way to pronounce a sequence of words.

    Args:
        pronunciations: per word its variants, each a sequence of tokens (at least one).
        silence: token that may stand once before, between and after words; None: there is none.
    """
    arcs: List[TokenArc] = []
    states = 1
    here = [0]  # states between two words: without and with silence behind

    def add(source: int, target: Optional[int], token: int, word: Optional[int]) -> int:
        nonlocal states
        if target is None:
            target, states = states, states + 1
        arcs.append(TokenArc(source, target, token, word))
        return target

    def rest() -> None:
        if silence is not None:
            here.append(add(here[0], None, silence, None))

    rest()
    for word, variants in enumerate(pronunciations):
        # State numbers rise along every path: the word's inner states come before its end.
        inner: List[Tuple[int, int]] = []
        for variant in variants:
            state = -1
            for token in variant[:-1]:
                sources = here if state < 0 else [state]
                target = None
                for source in sources:
                    target = add(source, target, token, word)
                assert target is not None
                state = target
            inner.append((state, variant[-1]))
        end, states = states, states + 1
        for state, token in inner:
            for source in here if state < 0 else [state]:
                add(source, end, token, word)
        here = [end]
        rest()
    return Transcript(arcs, tuple(here))


def ctc_graph(transcript: Transcript) -> k2.Fsa:
    """The CTC graph of a transcript (Graves et al. 2006, section 3.2), built directly.

    It equals the composition of the standard topology with the transcript, without the V² arcs
    of that topology: every state becomes a loop over the blank, every arc a loop over its
    token, which another token may follow without a blank, but the same one may not.

    Returns:
        An arc-sorted FSA: ``labels`` are frames' tokens (0 the blank), ``aux_labels`` the
        place in ``transcript.arcs`` plus one of the token that begins in the frame, else 0.
    """
    k2 = require_k2()
    size = 1 + max([0, *(arc.target for arc in transcript.arcs)])
    final = size + len(transcript.arcs)
    leaving: Dict[int, List[int]] = {}
    for place, arc in enumerate(transcript.arcs):
        leaving.setdefault(arc.source, []).append(place)
    rows: List[Tuple[int, int, int, int]] = []

    def leave(state: int, junction: int, before: Optional[int]) -> None:
        for place in leaving.get(junction, ()):
            token = transcript.arcs[place].token
            if token != before:
                rows.append((state, token, size + place, place + 1))
        if junction in transcript.finals:
            rows.append((state, -1, final, 0))

    for junction in range(size):
        rows.append((junction, 0, junction, 0))
        leave(junction, junction, None)
    for place, arc in enumerate(transcript.arcs):
        rows.append((size + place, arc.token, size + place, 0))
        rows.append((size + place, 0, arc.target, 0))
        leave(size + place, arc.target, arc.token)
    # k2's order of labels is that of unsigned numbers: the final arc's −1 comes last.
    rows.sort(key=lambda row: (row[0], row[1] & 0xFFFFFFFF, row[2]))
    arcs = torch.tensor([(s, t, label, 0) for s, label, t, _ in rows], dtype=torch.int32)
    aux = torch.tensor([row[3] for row in rows], dtype=torch.int32)
    return k2.arc_sort(k2.Fsa(arcs, aux_labels=aux))


def shortest_length(transcript: Transcript) -> int:
    """The fewest frames that a path of the CTC graph takes: tokens, and blanks between equals."""
    fewest: Dict[Tuple[int, int], int] = {(0, 0): 0}  # (state, last token) -> frames
    for arc in sorted(transcript.arcs, key=lambda arc: arc.source):
        for (state, last), frames in list(fewest.items()):
            if state == arc.source:
                key, total = (arc.target, arc.token), frames + 1 + (last == arc.token)
                fewest[key] = min(fewest.get(key, total), total)
    return min(frames for (state, _), frames in fewest.items() if state in transcript.finals)
