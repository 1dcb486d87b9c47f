"""Best paths of lattices that have one and of one that has none."""

from __future__ import annotations

import math

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import best_paths, find_lattices  # noqa: E402
from espnet_plugin.decode.graph import ctc_graph  # noqa: E402


def test_a_lattice_without_a_path_scores_minus_infinity() -> None:
    arcs = torch.tensor([[0, 1, 1, 0], [0, 1, 2, 0], [1, 2, -1, 0]], dtype=torch.int32)
    full = k2.Fsa(arcs)
    full.scores = torch.tensor([-1.5, -0.25, -0.5])
    empty = k2.connect(k2.Fsa(torch.tensor([[0, 1, 1, 0], [2, 3, -1, 0]], dtype=torch.int32)))
    both = k2.create_fsa_vec([full, empty, full])
    both.aux_labels = both.labels.clone()
    labels, scores = best_paths(both)
    assert labels == [[2], [], [2]]
    assert scores == [-0.75, -math.inf, -0.75]
    expected = k2.one_best_decoding(both).get_tot_scores(True, False)
    assert scores == expected.tolist()


def test_scores_of_a_search_are_those_of_k2s_best_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    log_probs = (3 * torch.randn(4, 30, 12, generator=generator)).log_softmax(-1)
    lengths = torch.tensor([30, 17, 1, 24])
    lattice = find_lattices(ctc_graph([str(i) for i in range(12)]).fsa, log_probs, lengths).fsa
    expected = k2.one_best_decoding(lattice).get_tot_scores(True, False)
    assert best_paths(lattice)[1] == pytest.approx(expected.tolist(), abs=1e-9)
    # and, over all frames, those of the most probable label of each (repetitions, blanks: free)
    greedy = [
        row[:length].amax(-1).double().sum() for row, length in zip(log_probs, lengths, strict=True)
    ]
    assert best_paths(lattice)[1] == pytest.approx([float(x) for x in greedy], abs=1e-4)
