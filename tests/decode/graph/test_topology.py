from __future__ import annotations

import itertools

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import ctc_topology  # noqa: E402


def outputs(graph: k2.Fsa, frames: tuple[int, ...]) -> set[tuple[int, ...]]:
    """All output sequences of the graph for one input sequence, by following its arcs."""
    arcs = graph.arcs.values()[:, :3].tolist()
    aux = graph.aux_labels.tolist()
    hypotheses = {(0, ())}
    for label in (*frames, -1):
        hypotheses = {
            (arc[1], said + ((out,) if out > 0 else ()))
            for state, said in hypotheses
            for arc, out in zip(arcs, aux, strict=True)
            if arc[0] == state and arc[2] == label
        }
    return {said for _, said in hypotheses}


def test_standard_topology_collapses() -> None:
    graph = ctc_topology(3)
    for frames in itertools.product(range(3), repeat=4):
        collapsed = tuple(token for token, _ in itertools.groupby(frames) if token != 0)
        assert outputs(graph, frames) == {collapsed}


def test_modified_topology_may_also_repeat_a_token() -> None:
    graph = ctc_topology(3, "modified")
    for frames in itertools.product(range(3), repeat=4):
        runs = [(token, len(list(run))) for token, run in itertools.groupby(frames) if token]
        choices = [[(token,) * n for n in range(1, length + 1)] for token, length in runs]
        expected = {sum(choice, ()) for choice in itertools.product(*choices)}
        assert outputs(graph, frames) == expected


@pytest.mark.parametrize("topology", ["standard", "modified"])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_is_what_k2_builds_and_sorts(topology: str, size: int) -> None:
    ours = ctc_topology(size, topology)
    theirs = k2.arc_sort(k2.ctc_topo(size - 1, modified=topology == "modified"))
    assert torch.equal(ours.arcs.values(), theirs.arcs.values())
    assert torch.equal(ours.aux_labels, theirs.aux_labels)
    assert ours.properties == theirs.properties


def test_sizes() -> None:
    assert ctc_topology(10).num_arcs == 10 * 10 + 10
    assert ctc_topology(10, "modified").num_arcs < 40


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="topology must be one of"):
        ctc_topology(10, "compact")
    with pytest.raises(ValueError, match="vocab_size=1"):
        ctc_topology(1)
