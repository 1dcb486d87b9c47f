"""Densities, posteriors and word times of small lattices, against all their paths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from espnet_plugin.decode.lattices.alignment import Labels, read_paths
from espnet_plugin.decode.lattices.density import Density, densities, total
from espnet_plugin.decode.lattices.posteriors import arc_posteriors, best_words, emissions
from espnet_plugin.decode.lattices.word_graph import sequences
from espnet_plugin.decode.scales import Scales

k2 = pytest.importorskip("k2", reason="lattices are k2's")

TOKENS = ["<blank>", "<unk>", "▁A", "B", "▁C", "<sos/eos>"]
WORDS = ["<eps>", "AB", "C", "CB"]
Arc = tuple[int, int, int, int, float]  # source, target, token, word, score


def random_lattice(seed: int, frames: int = 6, width: int = 3) -> list[Arc]:
    """Frame by frame, every state to some states of the next frame; random labels, scores."""
    generator = np.random.default_rng(seed)
    layers, number = [[0]], 1
    for _ in range(frames):
        size = int(generator.integers(1, width + 1))
        layers.append(list(range(number, number + size)))
        number += size
    arcs: list[Arc] = []
    for here, there in zip(layers[:-1], layers[1:], strict=True):
        reached = set()
        for source in here:
            targets = generator.choice(there, generator.integers(1, len(there) + 1), replace=False)
            for target in [*targets, *(there if source == here[-1] else [])]:
                if target in targets or target not in reached:
                    reached.add(target)
                    token = int(generator.integers(0, 5))
                    word = int(generator.integers(0, 4)) if token > 1 else 0
                    arcs.append((source, int(target), token, word, float(generator.normal())))
    arcs += [(state, number, -1, 0, 0.0) for state in layers[-1]]
    return arcs


def fsa_vec(lattices: list[list[Arc]]) -> Any:
    """An FsaVec with the attributes of stored lattices."""
    fsas = []
    for arcs in lattices:
        rows = sorted(arcs, key=lambda a: (a[0], a[2] & 0xFFFFFFFF, a[1]))
        depth = {0: 0}
        for source, target, *_ in sorted(arcs):
            depth[target] = depth[source] + 1
        table = torch.tensor([[a[0], a[1], a[2], 0] for a in rows], dtype=torch.int32)
        fsa = k2.Fsa(table, aux_labels=torch.tensor([a[3] for a in rows], dtype=torch.int32))
        fsa.scores = torch.tensor([a[4] for a in rows])
        fsa.am_scores = fsa.scores.clone()
        fsa.lm_scores = torch.zeros_like(fsa.scores)
        fsa.lexicon_scores = torch.zeros_like(fsa.scores)
        fsa.frame = torch.tensor([-1 if a[2] < 0 else depth[a[0]] for a in rows], dtype=torch.int32)
        fsas.append(fsa)
    return k2.create_fsa_vec(fsas)


def all_paths(arcs: list[Arc]) -> list[tuple[list[Arc], float]]:
    """Every path and its score, in float64."""
    final = max(arc[1] for arc in arcs)
    waiting: list[list[Arc]] = [[arc] for arc in arcs if arc[0] == 0]
    found = []
    while waiting:
        path = waiting.pop()
        if path[-1][1] == final:
            found.append((path, math.fsum(arc[4] for arc in path)))
        waiting += [[*path, arc] for arc in arcs if arc[0] == path[-1][1]]
    return found


def weights(paths: list[tuple[list[Arc], float]], scale: float) -> list[float]:
    """Probabilities of the paths."""
    shares = [math.exp(scale * score) for _, score in paths]
    return [share / math.fsum(shares) for share in shares]


LATTICES = [random_lattice(seed) for seed in range(12)]


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_arc_posteriors_are_shares_of_all_paths(scale: float) -> None:
    fsa = fsa_vec(LATTICES)
    found = arc_posteriors(fsa, scale)
    place = 0
    for arcs in LATTICES:
        paths = all_paths(arcs)
        assert len(paths) > 1
        shares = weights(paths, scale)
        for arc in sorted(arcs, key=lambda a: (a[0], a[2] & 0xFFFFFFFF, a[1])):
            expected = math.fsum(
                share for (path, _), share in zip(paths, shares, strict=True) if arc in path
            )
            assert float(found[place]) == pytest.approx(expected, abs=1e-6)
            place += 1
    assert place == len(found)
    with pytest.raises(ValueError, match="above 0"):
        arc_posteriors(fsa, 0.0)


def test_density_is_arcs_per_frame() -> None:
    found = densities(fsa_vec(LATTICES))
    for arcs, one in zip(LATTICES, found, strict=True):
        crossing = [sum(arc[2] >= 0 and depth(arcs, arc) == t for arc in arcs) for t in range(6)]
        assert (one.frames, one.arcs) == (6, sum(crossing))
        assert one.density == pytest.approx(np.mean(crossing))
    assert total(found) == Density(6 * len(found), sum(one.arcs for one in found))
    assert Density(0, 0).density == 0.0


def depth(arcs: list[Arc], arc: Arc) -> int:
    """The number of arcs before ``arc`` on any path."""
    count, state = 0, arc[0]
    while state != 0:
        state = next(a[0] for a in arcs if a[1] == state)
        count += 1
    return count


def test_the_mass_of_a_word_in_a_window_is_that_of_the_paths_with_it() -> None:
    """Where no path has the word twice in the window, the mass is a probability of paths."""
    compared = 0
    for arcs, found in zip(LATTICES, emissions(fsa_vec(LATTICES)), strict=True):
        paths = all_paths(arcs)
        shares = weights(paths, 1.0)
        for word in (1, 2, 3):
            for low, high in ((0, 5), (1, 2), (2.5, 4.5)):
                counts = [
                    sum(a[3] == word and low <= t <= high for t, a in enumerate(path[:-1]))
                    for path, _ in paths
                ]
                expected = math.fsum(c * s for c, s in zip(counts, shares, strict=True))
                assert found.mass(word, low, high) == pytest.approx(min(1, expected), abs=1e-6)
                compared += 0 < expected < 1
    assert compared > 20


def planted() -> list[Arc]:
    """``AB C`` (tokens ▁A B, ▁C) beside ``AB CB`` and ``C C`` with planted scores."""

    def log(p: float) -> float:
        return math.log(p)

    return [
        (0, 1, 0, 0, 0.0),
        (1, 2, 2, 0, log(0.9)), (1, 3, 4, 2, log(0.1)),
        (2, 4, 2, 0, 0.0), (3, 4, 0, 0, 0.0),
        (4, 5, 3, 1, log(0.8)), (4, 5, 0, 0, log(0.2)),
        (5, 6, 0, 0, 0.0),
        (6, 7, 4, 2, log(0.7)), (6, 8, 4, 0, log(0.3)),
        (7, 9, 4, 0, 0.0), (8, 9, 3, 3, 0.0),
        (9, 10, -1, 0, 0.0),
    ]  # fmt: skip


def test_words_have_the_frames_and_confidences_that_were_planted() -> None:
    labels = Labels({"tokens": TOKENS, "words": WORDS})
    (best,) = best_words(fsa_vec([planted()]), labels)
    assert best.frames == 7
    assert [(w.text, w.first, w.last) for w in best.words] == [("AB", 1, 3), ("C", 5, 6)]
    assert best.confidences == pytest.approx([0.8, 0.7], abs=1e-6)


def test_pieces_are_joined_at_the_word_boundary_mark() -> None:
    arcs = [(s, t, token, max(token, 0), score) for s, t, token, _, score in planted()]
    tokens = [(a[0], a[1], a[2], 0 if a[0] in (2, 7) else a[3], a[4]) for a in arcs]
    labels = Labels({"tokens": TOKENS, "words": None})
    (best,) = best_words(fsa_vec([tokens]), labels)
    assert [w.text for w in best.words] == ["AB", "C"]
    # A word is as sure as its least certain piece: ▁A 0.9, B 0.8; ▁C in either last word.
    assert best.confidences == pytest.approx([0.8, 1.0], abs=1e-6)


def test_characters_are_joined_between_spaces() -> None:
    labels = Labels({"tokens": ["<blank>", "A", "B", "<space>"], "words": None})
    frames = [1, 2, 3, 3, 0, 1, 1, 3]
    arcs = [(i, i + 1, t, t if i == 0 or frames[i - 1] != t else 0, 0.0)
            for i, t in enumerate(frames)]  # fmt: skip
    lattice = fsa_vec([[*arcs, (8, 9, -1, 0, 0.0)]])
    (path,) = read_paths(lattice)
    assert [(w.text, w.first, w.last) for w in labels.align(path)] == [("AB", 0, 1), ("A", 5, 6)]
    assert labels.text([1, 3, 2]) == "A B"


def test_ragged_outputs_count_as_plain_ones() -> None:
    plain = fsa_vec(LATTICES)
    ragged = plain.clone()
    values = plain.aux_labels.tolist()
    ragged.aux_labels = k2.RaggedTensor([[v] if v > 0 else [] for v in values])
    for one, other in zip(emissions(plain), emissions(ragged), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_allclose(one.posteriors, other.posteriors)


def test_labels_need_names() -> None:
    with pytest.raises(ValueError, match="names no tokens"):
        Labels({})


def test_sequences_of_a_lattice_within_a_beam() -> None:
    labels = Labels({"tokens": TOKENS, "words": WORDS})
    fsa = fsa_vec([planted()])
    found = sequences(fsa, labels, Scales(), 10, 100.0)
    assert found[0].words == ("AB", "C")
    assert {one.words for one in found} == {
        ("AB", "C"), ("AB", "CB"), ("C", "AB", "C"), ("C", "AB", "CB"),
        ("C",), ("CB",), ("C", "C"), ("C", "CB"),
    }  # fmt: skip
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    near = sequences(fsa, labels, Scales(), 10, 1.0)
    assert {one.words for one in near} == {("AB", "C"), ("AB", "CB")}
