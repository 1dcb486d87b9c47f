"""Whole-lattice rescoring against the n-gram model's own score of every path."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import List, Tuple

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
pytest.importorskip("kaldilm", reason="kaldilm is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from small_lattices import Arc, Small, small_lattices, to_fsa_vec, words  # noqa: E402

from espnet_plugin.decode.graph.grammar import load_grammar, save_grammar  # noqa: E402
from espnet_plugin.decode.rescore.grammar import MISSING, GrammarTables  # noqa: E402
from espnet_plugin.decode.rescore.nbest import nbest_paths, rank  # noqa: E402
from espnet_plugin.decode.rescore.ngram import ngram_rescoring  # noqa: E402
from espnet_plugin.decode.rescore.rebuild import prune  # noqa: E402
from espnet_plugin.decode.rescore.whole_lattice import whole_lattice_rescoring  # noqa: E402
from espnet_plugin.decode.scales import Scales, word_counts  # noqa: E402
from espnet_plugin.decode.search import best_paths, total_scores  # noqa: E402
from espnet_plugin.lm import NGram, train_ngram  # noqa: E402

WORDS = ["<eps>", "a", "b", "c", "never"]
SENTENCES = ["a b c", "a b", "b a b", "c c a", "a b c a", "b", "c a b c", "a a"]
SCALES = Scales(acoustic=0.75, hlg=1.25, lm=0.5, word=-0.375)

# Not interpolated: the explicit "a b" is far below what backing off would give it.
ODD = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-0.5\t</s>
-99\t<s>\t-0.25
-0.25\ta\t-0.125
-0.5\tb\t0.5
-0.75\tc

\\2-grams:
-3.0\ta b
-0.0625\tb </s>
-1.5\t<s> a

\\end\\
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> List[Tuple[NGram, GrammarTables]]:
    """A trigram model without the last word of WORDS, and an odd bigram."""
    folder = tmp_path_factory.mktemp("lm")
    train_ngram([s.split() for s in SENTENCES], 3).save(folder / "three.arpa")
    (folder / "odd.arpa").write_text(ODD, encoding="utf-8")
    return [both(folder / name) for name in ("three.arpa", "odd.arpa")]


def both(path: Path) -> Tuple[NGram, GrammarTables]:
    return NGram.load(path), GrammarTables(load_grammar(path, WORDS))


def to_words(labels: Tuple[int, ...]) -> List[str]:
    return [WORDS[label] for label in labels]


def model_score(model: NGram, labels: Tuple[int, ...]) -> float:
    """With the words that the model lacks at the floor, not as its <unk>."""
    scores, context = 0.0, True
    part: List[str] = []
    for label in [*labels, 0]:
        if label == 0:
            return scores + model.score(part, bos=context)
        if WORDS[label] in model:
            part.append(WORDS[label])
        else:
            scores += model.score(part, bos=context, eos=False) + MISSING
            part, context = [], False
    raise AssertionError


def exact(small: Small, model: NGram) -> List[Tuple[float, Tuple[int, ...]]]:
    found = []
    for path in small.paths():
        am, lexicon = sum(arc.am for arc in path), sum(arc.lexicon for arc in path)
        labels = words(path)
        score = SCALES.combine(am, model_score(model, labels), lexicon, len(labels))
        found.append((score, labels))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(small_lattices(vocabulary=4), min_size=1, max_size=3), st.booleans())
def test_every_path_has_the_exact_score_once(models, lattices: List[Small], odd: bool) -> None:
    model, tables = models[odd]
    connected = k2.connect(to_fsa_vec(lattices))
    rescored = whole_lattice_rescoring(connected, tables, SCALES)
    assert rescored.shape[0] == len(lattices)
    totals, lists = total_scores(rescored).tolist(), nbest_paths(rescored, 1000)
    for small, total, paths in zip(lattices, totals, lists, strict=True):
        expected = exact(small, model)
        everything = torch.tensor([score for score, _ in expected], dtype=torch.float64)
        if not expected:
            assert paths == [] and total == -math.inf
            continue
        # The sum over paths tells that none is there twice.
        assert total == pytest.approx(float(everything.logsumexp(0)), abs=1e-3)
        best = {}
        for score, labels in expected:
            best[labels] = max(score, best.get(labels, -math.inf))
        assert {path.labels: path.score(SCALES) for path in paths} == pytest.approx(best, abs=1e-3)
        for path in paths:
            assert path.lm_score == pytest.approx(model_score(model, path.labels), abs=1e-3)


def test_best_path_equals_rescoring_of_all_paths(models) -> None:
    lattice = chain(6)
    for model, tables in models:
        labels, scores = best_paths(whole_lattice_rescoring(lattice, tables, SCALES))
        everything = nbest_paths(lattice, 10**6)[0]
        assert len(everything) == 3**6
        best = rank(ngram_rescoring([everything], model, to_words), SCALES)[0][0]
        assert labels[0] == list(best.labels)
        assert scores[0] == pytest.approx(best.score(SCALES), abs=1e-4)


def test_equals_composition_with_epsilon_backoffs(models, tmp_path: Path) -> None:
    """What k2 itself finds with backoff arcs as epsilons, where explicit scores are the best."""
    train_ngram([s.split() for s in SENTENCES], 3).save(tmp_path / "three.arpa")
    grammar = load_grammar(tmp_path / "three.arpa", WORDS)
    lattice = chain(4)
    graph = k2.arc_sort(k2.invert(lattice[0]))
    graph.scores = SCALES.acoustic * graph.am_scores + SCALES.hlg * graph.lexicon_scores
    graph.scores = graph.scores + SCALES.word * word_counts(graph)
    scaled = k2.arc_sort(grammar.clone())
    scaled.scores = SCALES.hlg * SCALES.lm * grammar.scores
    del graph.aux_labels
    found = k2.intersect(graph, scaled, treat_epsilons_specially=True)
    total = k2.create_fsa_vec([k2.top_sort(k2.connect(found))]).get_tot_scores(True, False)
    _, scores = best_paths(whole_lattice_rescoring(lattice, models[0][1], SCALES))
    assert scores[0] == pytest.approx(float(total), abs=1e-4)


def chain(size: int, vocabulary: int = 3, ragged: bool = False) -> k2.Fsa:
    """Any of the words at each of ``size`` places, an epsilon between them."""
    generator = torch.Generator().manual_seed(size)
    arcs = []
    for i in range(size):
        for word in range(1, vocabulary + 1):
            parts = (-2 * torch.rand(3, generator=generator)).tolist()
            arcs.append(Arc(2 * i, 2 * i + 1, word, (word,), *parts))
        arcs.append(Arc(2 * i + 1, 2 * i + 2, 0, (), -0.25))
    return to_fsa_vec([Small(2 * size + 2, [*arcs, Arc(2 * size, 2 * size + 1, -1)])], ragged)


@pytest.mark.parametrize("ragged", [False, True])
def test_attributes_are_kept(models, ragged: bool) -> None:
    lattice = chain(3, ragged=ragged)
    lattice.tokens = lattice.labels.clone()
    rescored = whole_lattice_rescoring(lattice, models[0][1])
    assert type(rescored.aux_labels) is type(lattice.aux_labels)
    assert rescored.frame.dtype == torch.int32
    assert bool((rescored.frame[rescored.labels < 0] == -1).all())
    assert torch.equal(rescored.tokens, rescored.labels)
    (path,), (before,) = nbest_paths(rescored, 1)[0], nbest_paths(lattice, 1)[0]
    assert rescored.frame[list(path.arcs)].tolist() == lattice.frame[list(before.arcs)].tolist()
    assert "TopSorted" in rescored.properties_str
    again = whole_lattice_rescoring(rescored, models[0][1])  # of a rescored lattice
    assert best_paths(again)[1] == pytest.approx(best_paths(rescored)[1], abs=1e-5)
    assert again.num_arcs == rescored.num_arcs


def test_missing_words_are_not_the_end(models, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    only = Small(4, [Arc(0, 1, 1, (4,), -1.0), Arc(1, 2, 1, (1,)), Arc(2, 3, -1)])
    lattice = to_fsa_vec([only])
    model, tables = models[1]
    (path,) = nbest_paths(whole_lattice_rescoring(lattice, tables), 5)[0]
    assert path.labels == (4, 1)
    expected = MISSING + model.score(["a"], bos=False)
    assert path.lm_score == pytest.approx(expected, abs=1e-4)
    (rescored,) = ngram_rescoring(nbest_paths(lattice, 5), model, to_words)[0]
    assert rescored.lm_score == pytest.approx(expected, abs=1e-4)
    assert "1 of 2 words of the lattices are not in the language model (ids 4)" in caplog.text


def test_missing_words_as_unknown(tmp_path: Path) -> None:
    text = ODD.replace("-0.75\tc", "-0.75\t<unk>")
    (tmp_path / "unk.arpa").write_text(text, encoding="utf-8")
    model = NGram.load(tmp_path / "unk.arpa")
    assert "c" not in model and "<unk>" in model
    names = ["<eps>", "a", "b", "c"]
    lattice = chain(3)
    for tables in (
        GrammarTables.load(tmp_path / "unk.arpa", names),
        GrammarTables.load(tmp_path / "unk.arpa", [*names, "<unk>"]),
    ):
        (paths,) = nbest_paths(whole_lattice_rescoring(lattice, tables), 100)
        assert len(paths) == 27
        for path in paths:
            score = model.score([names[label] for label in path.labels])
            assert path.lm_score == pytest.approx(score, abs=1e-4)


def test_grammar_from_a_file_of_compile_graph(tmp_path: Path) -> None:
    (tmp_path / "odd.arpa").write_text(ODD, encoding="utf-8")
    save_grammar(load_grammar(tmp_path / "odd.arpa", WORDS), WORDS, tmp_path / "G.pt")
    stored = GrammarTables.load(tmp_path / "G.pt", WORDS)
    direct = GrammarTables.load(tmp_path / "odd.arpa", WORDS)
    assert stored.unknown is None and direct.unknown is None
    lattice = chain(3)
    assert best_paths(whole_lattice_rescoring(lattice, stored)) == best_paths(
        whole_lattice_rescoring(lattice, direct)
    )


def test_batch_is_halved_and_a_lattice_pruned(models, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, tables = models[0]
    both = k2.cat([chain(6), chain(2)])
    whole = whole_lattice_rescoring(both, tables)
    sizes = [whole_lattice_rescoring(chain(n), tables).num_arcs for n in (6, 2)]
    assert whole.num_arcs == sum(sizes)
    halved = whole_lattice_rescoring(both, tables, max_arcs=max(sizes))
    assert not caplog.records and halved.num_arcs == whole.num_arcs
    assert best_paths(halved) == best_paths(whole)
    pruned = whole_lattice_rescoring(both, tables, max_arcs=sizes[0] // 2, names=["one", "two"])
    assert "one: rescoring needs too much" in caplog.text and "two" not in caplog.text
    assert pruned.shape[0] == 2 and 0 < pruned.num_arcs < whole.num_arcs
    assert best_paths(pruned)[0][1] == best_paths(whole)[0][1]
    tiny = whole_lattice_rescoring(both, tables, max_arcs=1)
    assert [len(paths) for paths in nbest_paths(tiny, 10)] == [1, 1]


def test_pruning_keeps_the_best_and_what_is_near() -> None:
    lattice = chain(4)
    before = {path.labels: path.score(Scales()) for path in nbest_paths(lattice, 1000)[0]}
    smaller = prune(lattice, 0.5)
    after = nbest_paths(smaller, 1000)[0]
    assert after[0].labels == nbest_paths(lattice, 1)[0][0].labels
    assert 1 < len(after) < len(before)
    assert all(before[path.labels] == pytest.approx(path.score(Scales())) for path in after)
    assert prune(lattice, 1.0).num_arcs == lattice.num_arcs
    assert len(nbest_paths(prune(lattice, 0.0), 10)[0]) == 1


def test_no_lattice_has_a_path(models) -> None:
    lattice = to_fsa_vec([Small(0), Small(0)])
    rescored = whole_lattice_rescoring(lattice, models[0][1])
    assert rescored.shape[0] == 2 and nbest_paths(rescored, 3) == [[], []]
    some = whole_lattice_rescoring(k2.cat([lattice, chain(2, ragged=True)]), models[0][1])
    assert [len(paths) for paths in nbest_paths(some, 3)] == [0, 0, 3]
