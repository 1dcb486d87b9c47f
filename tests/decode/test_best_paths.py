"""Best paths of lattices that have one and of one that has none."""

from __future__ import annotations

import math

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import best_paths  # noqa: E402


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
    expected = k2.shortest_path(both, True).get_tot_scores(True, False)
    assert scores == expected.tolist()
