"""Forced alignment with k2 against a naive Viterbi in float64."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("k2", reason="alignment needs k2")

from espnet_plugin.decode.align.transcript import lexicon_transcript, linear_transcript
from espnet_plugin.decode.align.viterbi import align_batch


def naive(log_probs: list[list[float]], tokens: list[int]) -> tuple[float, list[int]]:
    """Best score and, per frame, the place of the token (−1: blank) of a CTC alignment."""
    states = [-1 if i % 2 == 0 else i // 2 for i in range(2 * len(tokens) + 1)]

    def label(state: int) -> int:
        return 0 if states[state] < 0 else tokens[states[state]]

    best = [[-math.inf] * len(states) for _ in log_probs]
    back = [[0] * len(states) for _ in log_probs]
    for state in (0, 1):
        best[0][state] = log_probs[0][label(state)]
    for frame in range(1, len(log_probs)):
        for state in range(len(states)):
            sources = [state, state - 1]
            if states[state] >= 0 and state >= 2 and label(state) != label(state - 2):
                sources.append(state - 2)
            source = max((s for s in sources if s >= 0), key=lambda s: best[frame - 1][s])
            best[frame][state] = best[frame - 1][source] + log_probs[frame][label(state)]
            back[frame][state] = source
    state = max(len(states) - 1, len(states) - 2, key=lambda s: best[-1][s])
    score, path = best[-1][state], []
    for frame in range(len(log_probs) - 1, -1, -1):
        path.append(states[state])
        state = back[frame][state]
    return score, path[::-1]


def spans(path: list[int]) -> list[tuple[int, int, int]]:
    """(place, first, last) of every token of a naive path."""
    places = sorted({place for place in path if place >= 0})
    frames = [[f for f, p in enumerate(path) if p == place] for place in places]
    return [(place, own[0], own[-1]) for place, own in zip(places, frames, strict=True)]


def test_linear_transcripts_give_the_naive_paths() -> None:
    generator = torch.Generator().manual_seed(3)
    size, longest, tokens = 60, 30, 7
    log_probs = (2 * torch.randn(size, longest, tokens, generator=generator)).log_softmax(-1)
    lengths = torch.randint(12, longest + 1, (size,), generator=generator)
    texts = [
        torch.randint(1, tokens, (int(n),), generator=generator).tolist()
        for n in torch.randint(1, 7, (size,), generator=generator)
    ]
    transcripts = [linear_transcript(text, [0] * len(text)) for text in texts]
    found = align_batch(log_probs, lengths, transcripts)
    for i, (text, path) in enumerate(zip(texts, found, strict=True)):
        frames = log_probs[i, : lengths[i]].double().tolist()
        score, best = naive(frames, text)
        assert path is not None
        assert [(s.arc, s.first, s.last) for s in path.spikes] == spans(best)
        assert path.score == pytest.approx(score, abs=1e-4)
        for spike in path.spikes:
            own = [math.exp(frames[f][text[spike.arc]]) for f in range(spike.first, spike.last + 1)]
            assert spike.score == pytest.approx(sum(own) / len(own), abs=1e-5)


def test_variants_and_silences_are_chosen_as_the_best_of_all_sequences() -> None:
    generator = torch.Generator().manual_seed(4)
    log_probs = (2 * torch.randn(20, 12, 6, generator=generator)).log_softmax(-1)
    words = [[(1, 2), (3,)], [(4,), (2, 2)]]
    transcript = lexicon_transcript(words, silence=5)
    found = align_batch(log_probs, torch.full((20,), 12), [transcript] * 20)
    chosen = set()
    for i, path in enumerate(found):
        frames = log_probs[i].double().tolist()
        candidates = []
        for one in words[0]:
            for two in words[1]:
                for pauses in range(8):
                    quiet = [[5] if pauses >> k & 1 else [] for k in range(3)]
                    tokens = [*quiet[0], *one, *quiet[1], *two, *quiet[2]]
                    candidates.append((*naive(frames, tokens), tokens))
        score, best, tokens = max(candidates, key=lambda c: c[0])
        assert path is not None
        assert [transcript.arcs[s.arc].token for s in path.spikes] == tokens
        assert [(s.first, s.last) for s in path.spikes] == [s[1:] for s in spans(best)]
        assert path.score == pytest.approx(score, abs=1e-4)
        chosen.add(tuple(tokens))
    assert len(chosen) > 5  # the examples are not all alike


def test_what_has_no_path_gives_none() -> None:
    log_probs = torch.zeros(4, 5, 3).log_softmax(-1)
    log_probs[2, 1, 1] = math.nan
    text = linear_transcript([1, 1, 2], [0, 0, 0])  # four frames at least
    found = align_batch(log_probs, torch.tensor([3, 4, 5, 0]), [text] * 4)
    assert [path is not None for path in found] == [False, True, False, False]
