"""Transcripts and their CTC graphs: what they accept, and how much."""

from __future__ import annotations

import pytest
import torch

from espnet_plugin.decode.align.transcript import (
    Transcript,
    ctc_graph,
    lexicon_transcript,
    linear_transcript,
    shortest_length,
)

SILENCE = 5
PRONUNCIATIONS = [[(1, 2), (1, 3, 3)], [(2,), (4, 1)]]


def paths(transcript: Transcript) -> set[tuple[tuple[int, int | None], ...]]:
    """All (token, word) sequences from state 0 to a final state."""
    found, waiting = set(), [(0, ())]
    while waiting:
        state, said = waiting.pop()
        if state in transcript.finals:
            found.add(said)
        waiting += [
            (arc.target, (*said, (arc.token, arc.word)))
            for arc in transcript.arcs
            if arc.source == state
        ]
    return found


def test_a_lexicon_transcript_has_every_variant_and_optional_silences() -> None:
    expected = set()
    for one in PRONUNCIATIONS[0]:
        for two in PRONUNCIATIONS[1]:
            for pauses in range(8):
                quiet = [((SILENCE, None),) if pauses >> i & 1 else () for i in range(3)]
                words = [tuple((t, i) for t in spelt) for i, spelt in enumerate((one, two))]
                expected.add((*quiet[0], *words[0], *quiet[1], *words[1], *quiet[2]))
    assert paths(lexicon_transcript(PRONUNCIATIONS, SILENCE)) == expected


def test_without_silence_there_is_none() -> None:
    said = paths(lexicon_transcript(PRONUNCIATIONS))
    assert len(said) == 4
    assert all(token != SILENCE for path in said for token, _ in path)


@pytest.mark.parametrize(
    ("transcript", "frames"),
    [
        (linear_transcript([1, 2, 3], [0, 0, 1]), 3),
        (linear_transcript([1, 1, 3, 3, 3], [0, 0, 1, 1, 1]), 8),
        (lexicon_transcript(PRONUNCIATIONS, SILENCE), 4),  # 1 2, blank, 2
        (lexicon_transcript([[(1, 1, 1)], [(1,)]], SILENCE), 7),
    ],
)
def test_shortest_length(transcript: Transcript, frames: int) -> None:
    assert shortest_length(transcript) == frames


def test_the_graph_is_ctc_s() -> None:
    """Summed and best scores equal those of k2's own CTC graphs, over all sequences."""
    k2 = pytest.importorskip("k2", reason="the graphs are k2's")
    torch.manual_seed(0)
    log_probs = torch.randn(1, 9, 6).log_softmax(-1)
    dense = k2.DenseFsaVec(log_probs, torch.tensor([[0, 0, 9]], dtype=torch.int32))

    def score(graphs: object, log_semiring: bool) -> torch.Tensor:
        lattice = k2.intersect_dense(
            graphs, dense, output_beam=1e3, a_to_b_map=torch.zeros(graphs.shape[0]).int()
        )
        return lattice.get_tot_scores(use_double_scores=True, log_semiring=log_semiring)

    transcript = lexicon_transcript([[(1, 1), (2, 3)], [(3,), (1, 4)]], SILENCE)
    sequences = sorted({tuple(token for token, _ in path) for path in paths(transcript)})
    assert len(sequences) == len(paths(transcript))
    own = k2.create_fsa_vec([ctc_graph(transcript)])
    theirs = k2.ctc_graph([list(sequence) for sequence in sequences])
    each = score(theirs, True)
    torch.testing.assert_close(score(own, True)[0], each.logsumexp(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(score(own, False)[0], score(theirs, False).max(), rtol=0, atol=1e-5)
