"""Scales found on a set against decoding with each of them."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple

import pytest

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from small_lattices import Small, small_lattices, to_fsa_vec, words  # noqa: E402

from espnet_plugin.decode.rescore.nbest import Path, nbest_paths  # noqa: E402
from espnet_plugin.decode.rescore.oracle import count_words  # noqa: E402
from espnet_plugin.decode.rescore.tune import Trial, Tuner, grid  # noqa: E402
from espnet_plugin.decode.scales import Scales  # noqa: E402

WORDS = ["<eps>", "a", "b", "c"]


def to_words(labels: Sequence[int]) -> List[str]:
    return [WORDS[label] for label in labels]


def test_grid() -> None:
    settings = grid(hlg=(0.5, 2), acoustic=(1, 3), attention=(0,))
    assert [(s.acoustic, s.hlg, s.lm, s.attention, s.nnlm) for s in settings] == [
        (1, 0.5, 1, 0, 1),
        (1, 2, 1, 0, 1),
        (3, 0.5, 1, 0, 1),
        (3, 2, 1, 0, 1),
    ]
    with pytest.raises(TypeError, match="unknown"):
        grid(unknown=(1,))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(small_lattices(), min_size=1, max_size=4),
    st.lists(st.lists(st.sampled_from("abc"), max_size=4), min_size=4, max_size=4),
)
def test_lattices_and_full_lists_agree_with_decoding(lattices: List[Small], texts) -> None:
    """Lattices against all their paths; lists, whose alignments are fixed, against their order."""
    tried = grid(acoustic=(0.5, 1.0), hlg=(0.0, 1.0, 4.0), lm=(0.5, 1.0), word=(0.0, -1.5))
    lattice, references = to_fsa_vec(lattices), texts[: len(lattices)]
    nbest = nbest_paths(lattice, 1000)
    by_list, by_lattice = Tuner(tried, to_words), Tuner(tried, to_words)
    by_list.add_nbest(nbest[:1], references[:1])
    by_list.add_nbest(nbest[1:], references[1:])
    by_lattice.add_lattice(lattice, references)
    trials = zip(tried, by_list.trials(), by_lattice.trials(), strict=True)
    for scales, one, two in trials:
        assert one.scales == two.scales == scales
        listed = [[(path.score(scales), path.labels) for path in paths] for paths in nbest]
        for trial, scored in ((one, listed), (two, [all_labels(s, scales) for s in lattices])):
            ranked = [sorted(paths, reverse=True) for paths in scored]
            if all(len(paths) < 2 or paths[0][0] - paths[1][0] > 1e-4 for paths in ranked):
                assert trial.counts.errors == sum(
                    count_words(reference, to_words(paths[0][1]) if paths else []).errors
                    for paths, reference in zip(ranked, references, strict=True)
                )
        assert one.counts.utterances == two.counts.utterances == len(lattices)
        assert one.counts.tokens == two.counts.tokens == sum(map(len, references))


def all_labels(small: Small, scales: Scales) -> List[Tuple[float, Tuple[int, ...]]]:
    """Every label sequence of a lattice with the score of its best alignment."""
    best: Dict[Tuple[int, ...], float] = {}
    for path in small.paths():
        score = sum(scales.combine(arc.am, arc.lm, arc.lexicon, len(words([arc]))) for arc in path)
        best[words(path)] = max(best.get(words(path), -math.inf), score)
    return [(score, labels) for labels, score in best.items()]


def test_best_is_the_closest_to_one_of_equals() -> None:
    """The right words win where the attention decoder has at least the weight 0.4."""
    paths = [
        Path((1,), (), -1.0, 0.0, 0.0, {"attention": -5.0}),
        Path((2,), (), -3.0, 0.0, 0.0, {"attention": 0.0}),
    ]
    tuner = Tuner(grid(attention=(0.0, 0.3, 0.5, 0.8, 1.5, 3.0), lm=(0.5, 1.0)), to_words)
    tuner.add_nbest([paths, []], [["b"], ["c"]])
    assert [trial.counts.errors for trial in tuner.trials()] == [2, 2, 1, 1, 1, 1] * 2
    best = tuner.best()
    assert isinstance(best, Trial) and best.counts.errors == 1
    assert best.scales == Scales(attention=0.8)
