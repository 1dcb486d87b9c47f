from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import find_lattices  # noqa: E402
from espnet_plugin.decode.graph import Graph, ctc_graph, hl_graph  # noqa: E402
from espnet_plugin.decode.lang import LangDir, make_lang  # noqa: E402
from espnet_plugin.decode.lang.lexicon import Entry  # noqa: E402
from espnet_plugin.decode.rescore import nbest_paths  # noqa: E402

TOKENS = ["<blank>", "<unk>", "a", "b", "sil"]


@pytest.fixture
def lang() -> LangDir:
    entries = [Entry("A", (2,), 0.5), Entry("A", (2, 2)), Entry("AB", (2, 3))]
    return make_lang(entries, TOKENS, "sil", 0.2)


def same(one: Graph, two: Graph) -> bool:
    names = ("aux_labels", "lm_scores", "lexicon_scores")
    return (
        (one.kind, one.topology, one.tokens, one.words)
        == (two.kind, two.topology, two.tokens, two.words)
        and torch.equal(one.fsa.arcs.values(), two.fsa.arcs.values())
        and all(torch.equal(getattr(one.fsa, name), getattr(two.fsa, name)) for name in names)
    )


@pytest.mark.parametrize("topology", ["standard", "modified"])
def test_comes_back_as_it_was_saved(tmp_path: Path, lang: LangDir, topology: str) -> None:
    for graph in (ctc_graph(TOKENS, topology), hl_graph(lang, topology)):
        graph.save(tmp_path / "graph.pt")
        assert same(Graph.load(tmp_path / "graph.pt"), graph)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.pt"]


def test_scores_are_the_sum_of_their_parts(lang: LangDir) -> None:
    for fsa in (ctc_graph(TOKENS).fsa, hl_graph(lang).fsa):
        assert torch.equal(fsa.scores, fsa.lm_scores + fsa.lexicon_scores)
    assert bool((hl_graph(lang).fsa.lexicon_scores < 0).any())


def test_is_sorted_for_intersection(lang: LangDir) -> None:
    for topology in ("standard", "modified"):
        assert hl_graph(lang, topology).fsa.properties & k2.fsa_properties.ARC_SORTED


def test_a_word_stands_on_an_arc_of_its_last_token(lang: LangDir) -> None:
    fsa = hl_graph(lang).fsa
    last = {1: {2}, 2: {3}}  # A ends in a, AB in b
    for label, word in zip(fsa.labels.tolist(), fsa.aux_labels.tolist(), strict=True):
        assert word <= 0 or label in last[word]


@pytest.mark.parametrize("topology", ["standard", "modified"])
def test_a_path_has_the_tokens_of_its_words(tmp_path: Path, topology: str) -> None:
    """Also where equal tokens follow each other without a blank, as the modified topology may."""
    entries = [Entry("A", (2,)), Entry("AA", (2, 2)), Entry("AB", (2, 3)), Entry("BA", (3, 2))]
    lang = make_lang(entries, TOKENS)
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.log_softmax(torch.randn(4, 5, 5, generator=generator), dim=-1)
    hl_graph(lang, topology).save(tmp_path / "graph.pt")
    h, hl = ctc_graph(TOKENS, topology).fsa, Graph.load(tmp_path / "graph.pt").fsa
    joined = 0
    for fsa in (h, hl):
        lattices = find_lattices(fsa, log_probs, torch.tensor([5, 5, 4, 1])).fsa
        for path in (one for paths in nbest_paths(lattices, 100) for one in paths):
            if fsa is h:
                assert path.tokens == path.labels
                continue
            spellings = product(*(lang.lexicon[lang.words[label]] for label in path.labels))
            assert path.tokens in {sum(spelling, ()) for spelling in spellings}
            frames = lattices.labels[list(path.arcs)].tolist()
            apart = [0, *frames]
            runs = sum(b > 0 and a != b for a, b in zip(apart[:-1], frames, strict=True))
            joined += runs < len(path.tokens)
    assert (joined > 0) == (topology == "modified")


def test_other_files_are_refused(tmp_path: Path, lang: LangDir) -> None:
    with pytest.raises(FileNotFoundError, match="no.pt: no such decoding graph; compile_graph"):
        Graph.load(tmp_path / "no.pt")
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a decoding graph"):
        Graph.load(tmp_path / "other.pt")
    hl_graph(lang).save(tmp_path / "graph.pt")
    content = torch.load(tmp_path / "graph.pt")
    content["format"] = 0
    torch.save(content, tmp_path / "old.pt")
    with pytest.raises(ValueError, match="graph format 0.*compile it again"):
        Graph.load(tmp_path / "old.pt")
