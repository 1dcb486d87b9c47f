from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from graph_reference import (
    TOKENS,
    acoustic_scores,
    random_lang,
    random_ngrams,
    sentence_scores,
)
from hypothesis import given, settings
from hypothesis import strategies as st

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
pytest.importorskip("kaldilm", reason="kaldilm is not installed")

from espnet_plugin.decode.graph import (  # noqa: E402
    Graph,
    ctc_topology,
    hl_graph,
    hlg_graph,
    load_grammar,
)
from espnet_plugin.decode.lang import LangDir, make_lang  # noqa: E402
from espnet_plugin.decode.lang.langdir import load_lexicon_fsa  # noqa: E402
from espnet_plugin.decode.lang.lexicon import Entry  # noqa: E402

SEEDS = st.integers(0, 2**32 - 1)
TOPOLOGY = st.sampled_from(["standard", "modified"])


def all_paths(graph: Graph, log_probs: np.ndarray) -> k2.Fsa:
    """The lattice of everything that the graph allows in these frames."""
    dense = k2.DenseFsaVec(
        torch.from_numpy(log_probs[None]), torch.tensor([[0, 0, len(log_probs)]], dtype=torch.int32)
    )
    graphs = k2.create_fsa_vec([graph.fsa])
    return k2.intersect_dense(graphs, dense, output_beam=1e6)


def best_of_words(lattice: k2.Fsa, words: list[int]) -> float:
    """The score of the lattice's best path with these output labels."""
    arcs = lattice[0].arcs.values().clone()
    arcs[:, 2] = lattice[0].aux_labels
    single = k2.arc_sort(k2.Fsa(arcs))
    found = k2.connect(k2.intersect(single, k2.linear_fsa(words)))
    return float(k2.create_fsa_vec([found]).get_tot_scores(True, False)[0])


def check(graph: Graph, log_probs: np.ndarray, expected: dict, ids: dict[str, int]) -> None:
    lattice = all_paths(graph, log_probs)
    if not expected:
        assert lattice.num_arcs == 0
        return
    best_words = max(expected, key=lambda words: expected[words][0])
    best = k2.shortest_path(lattice, use_double_scores=True)
    total = float(best.scores.sum())
    assert total == pytest.approx(expected[best_words][0], abs=1e-3)
    said = tuple(graph.words[i] for i in best.aux_labels.tolist() if i > 0)
    lm, lexicon = float(best.lm_scores.sum()), float(best.lexicon_scores.sum())
    # Another sentence, or pronunciation, may be as good; the parts then are its own.
    assert expected[said][0] == pytest.approx(total, abs=1e-3)
    assert lm == pytest.approx(expected[said][2], abs=1e-3)
    labels = [label for label in best.labels.tolist() if label >= 0]
    acoustic = sum(log_probs[frame, label] for frame, label in enumerate(labels))
    assert total - lm - lexicon == pytest.approx(acoustic, abs=1e-3)
    for words, (score, *_) in expected.items():
        if 1 <= len(words) <= 2:
            assert best_of_words(lattice, [ids[word] for word in words]) == pytest.approx(
                score, abs=1e-3
            )


def random_posteriors(generator: np.random.Generator, frames: int) -> np.ndarray:
    log_probs = generator.normal(0, 2, (frames, len(TOKENS))).astype(np.float32)
    return np.asarray(torch.from_numpy(log_probs).log_softmax(-1).numpy())


@settings(max_examples=25, deadline=None)
@given(SEEDS, TOPOLOGY, st.booleans(), st.integers(1, 3), st.integers(1, 4))
def test_hlg_is_brute_force(
    tmp_path_factory, seed: int, topology: str, silence: bool, order: int, frames: int
) -> None:
    generator = np.random.default_rng(seed)
    lang = random_lang(generator, silence)
    ngrams = random_ngrams(generator, lang.words[1:], order)
    arpa = tmp_path_factory.mktemp("lm") / "lm.arpa"
    ngrams.write(arpa)
    graph = hlg_graph(lang, load_grammar(arpa, lang.words), topology)
    log_probs = random_posteriors(generator, frames)
    acoustic = acoustic_scores(log_probs, topology)
    expected = sentence_scores(lang, ngrams, acoustic, frames)
    check(graph, log_probs, expected, {word: i for i, word in enumerate(lang.words)})


@settings(max_examples=15, deadline=None)
@given(SEEDS, TOPOLOGY, st.booleans(), st.integers(1, 4))
def test_hl_is_brute_force(seed: int, topology: str, silence: bool, frames: int) -> None:
    generator = np.random.default_rng(seed)
    lang = random_lang(generator, silence)
    log_probs = random_posteriors(generator, frames)
    expected = sentence_scores(lang, None, acoustic_scores(log_probs, topology), frames)
    ids = {word: i for i, word in enumerate(lang.words)}
    check(hl_graph(lang, topology), log_probs, expected, ids)


def textbook(lang_dir, grammar: k2.Fsa, topology: str) -> k2.Fsa:
    """HLG by k2's own composition, determinisation and removal of epsilons."""
    lang = LangDir.load(lang_dir)
    backoff = len(lang.words)
    lexicon = load_lexicon_fsa(lang_dir, disambiguated=True)
    labels = grammar.labels.clone()
    labels[labels == 0] = backoff
    grammar = k2.Fsa(grammar.arcs.values().clone())
    grammar.labels = labels
    graph = k2.connect(k2.compose(lexicon, k2.arc_sort(grammar)))
    graph = k2.connect(k2.determinize(k2.arc_sort(graph)))
    labels = graph.labels.clone()
    labels[labels >= len(lang.tokens)] = 0
    graph = k2.Fsa(graph.arcs)  # of k2's attributes only the scores are compared
    graph.labels = labels
    graph = k2.connect(k2.remove_epsilon(graph))
    topology_fsa = ctc_topology(len(lang.tokens), topology)
    graph.aux_labels = graph.labels.clone()
    return k2.arc_sort(k2.connect(k2.compose(topology_fsa, k2.arc_sort(graph))))


class Acceptor:
    """A graph's labels and scores. (k2.is_rand_equivalent finds differences of graphs with cycles
    where there are none, so it does not serve here.)"""

    def __init__(self, fsa: k2.Fsa) -> None:
        self.arcs: dict[int, list[tuple[int, int, float]]] = {}
        for (source, target, label), score in zip(
            fsa.arcs.values()[:, :3].tolist(), fsa.scores.tolist(), strict=True
        ):
            self.arcs.setdefault(source, []).append((label, target, score))

    def walk(self, generator: np.random.Generator, length: int) -> list[int]:
        """Labels of a random path, which ends as soon as it can from ``length`` on."""
        state, frames = 0, []
        while True:
            ends = [arc for arc in self.arcs[state] if arc[0] < 0]
            others = [arc for arc in self.arcs[state] if arc[0] >= 0]
            if ends and (len(frames) >= length or not others):
                return frames
            label, state, _ = others[generator.integers(len(others))]
            frames.append(label)

    def best(self, frames: list[int]) -> float:
        """The score of the best path with these labels."""
        reached = {0: 0.0}
        for frame in [*frames, -1]:
            following: dict[int, float] = {}
            for state, total in reached.items():
                for label, target, score in self.arcs.get(state, ()):
                    if label == frame:
                        following[target] = max(following.get(target, -math.inf), total + score)
            reached = following
        return max(reached.values(), default=-math.inf)


@settings(max_examples=20, deadline=None)
@given(SEEDS, TOPOLOGY, st.booleans(), st.integers(1, 3))
def test_hlg_is_equivalent_to_the_textbook(
    tmp_path_factory, seed: int, topology: str, silence: bool, order: int
) -> None:
    generator = np.random.default_rng(seed)
    lang = random_lang(generator, silence)
    folder = tmp_path_factory.mktemp("lang")
    lang.save(folder / "lang")
    random_ngrams(generator, lang.words[1:], order).write(folder / "lm.arpa")
    grammar = load_grammar(folder / "lm.arpa", lang.words)
    ours = Acceptor(hlg_graph(lang, grammar, topology).fsa)
    theirs = Acceptor(textbook(folder / "lang", grammar, topology))
    for one in (ours, theirs):
        for frames in (one.walk(generator, length) for length in range(1, 60)):
            assert ours.best(frames) == pytest.approx(theirs.best(frames), abs=1e-3)


def test_paths_are_counted_once() -> None:
    """A sequence of frames has one path for each word sequence, none twice."""
    lang = make_lang(
        [Entry("A", (2,)), Entry("B", (2, 3)), Entry("C", (2, 2)), Entry("D", (2, 2, 3))], TOKENS
    )
    for topology in ("standard", "modified"):
        graph = k2.Fsa(hl_graph(lang, topology).fsa.arcs)
        graph.scores = torch.zeros(graph.num_arcs)
        topology_fsa = ctc_topology(5, topology)
        for frames in ([2], [2, 2], [2, 0, 2], [2, 2, 0, 2, 3], [2, 0, 2, 0, 2], [2, 2, 2, 2]):
            linear = k2.linear_fsa(frames)
            found = k2.intersect(graph, linear, treat_epsilons_specially=False)
            paths = round(
                float(k2.create_fsa_vec([k2.connect(found)]).get_tot_scores(True, True).exp())
            )
            tokens = k2.intersect(topology_fsa, linear, treat_epsilons_specially=False)
            tokens = k2.connect(tokens)
            lists = [tuple(t for t in path if t > 0) for path in outputs(tokens)]
            assert paths == sum(spellings(lang, list(one)) for one in lists)


def outputs(fsa: k2.Fsa) -> list[tuple[int, ...]]:
    arcs, aux = fsa.arcs.values()[:, :2].tolist(), fsa.aux_labels.tolist()
    found: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    done = []
    while found:
        state, said = found.pop()
        if state == fsa.shape[0] - 1:
            done.append(said)
        found += [
            (target, (*said, out))
            for (source, target), out in zip(arcs, aux, strict=True)
            if source == state
        ]
    return done


def spellings(lang: LangDir, tokens: list[int]) -> int:
    """How many word sequences are spelt by these tokens."""
    if not tokens:
        return 1
    return sum(
        spellings(lang, tokens[len(spelt) :])
        for prons in lang.lexicon.values()
        for spelt in prons
        if tuple(tokens[: len(spelt)]) == spelt
    )
