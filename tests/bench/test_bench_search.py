"""The benchmarks of the search, on a graph of ten words and planted posteriors."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("k2", reason="the searches need k2")
pytest.importorskip("kaldilm", reason="graphs need kaldilm")

COUNTS = "THE 50\nOF 30\nAND 25\nCAT 9\nSAT 8\nCATS 4\nMAT 4\nON 12\nDOG 3\nRAN 2\nMATS 0\n"
TEXT = "1-2-0000 THE CAT SAT ON THE MAT\n1-2-0001 THE DOG AND THE CATS RAN\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, repo_root: Path):
    """What each step of graph_200k.py said of ten words, and where its files are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo_root / "tools" / "bench"))
        import graph_200k

    work = tmp_path_factory.mktemp("graph")
    data = work / "data"
    (data / "lm").mkdir(parents=True)
    (data / "lm" / "librispeech_train_word_counts.txt").write_text(COUNTS.lower())
    chapter = data / "LibriSpeech" / "test-other" / "1" / "2"
    chapter.mkdir(parents=True)
    (chapter / "1-2.trans.txt").write_text(TEXT)
    options = f"--work {work} --data {data} --words 10 --sampled 3000 --pieces 21 --prune 0 0 1"
    args = graph_200k.get_parser().parse_args(options.split())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo_root / "tools" / "bench"))
        said = {step: getattr(graph_200k, step)(args) for step in graph_200k.STEPS}
    return work, said, options.split()


def test_graph_steps(built) -> None:
    _, said, _ = built
    assert said["vocabulary"] == {"words": 10}
    assert 2000 < said["text"]["running words"] < 4000
    assert said["lang"] == {"pronunciations": 10}
    assert said["load"]["arcs"] > said["load"]["states"] > 10
    assert said["posteriors"]["utterances"] == 2


def test_a_step_is_measured_in_its_own_process(built) -> None:
    from graph_200k import run_step

    row = run_step("vocabulary", built[2])
    assert row["result"] == "10 words"
    assert row["seconds"] > 0.1 and 0.05 < row["peak GiB"] < 5


def test_searches_side_by_side(built) -> None:
    pytest.importorskip("flashlight.lib.text.decoder", reason="the rival is flashlight-text")
    from search import compare_ctc, compare_hlg
    from stored_posteriors import Posteriors

    from espnet_plugin.decode.graph import Graph
    from espnet_plugin.decode.lang import LangDir

    work = built[0]
    posteriors = Posteriors.load(work / "posteriors.pt")
    assert {row["search"] for row in compare_ctc(posteriors, 0)} >= {"ESPnet, one by one", "ours"}
    graph, lang = Graph.load(work / "HLG.pt"), LangDir.load(work / "lang")
    found = compare_hlg(posteriors, graph, lang, str(work / "3gram.arpa"), 0)
    best = {side: min(row["WER"] for row in curve) for side, curve in found["curves"].items()}
    assert best["ours"] <= best["flashlight"] < 60.0
    assert {row["of"] for row in found["at equal or better WER"]} == {"ours", "flashlight"}


def test_comparison_at_equal_errors() -> None:
    from search import at_equal_errors

    curves = {
        "ours": [{"WER": 5.0, "processor": 1.0}, {"WER": 4.0, "processor": 2.0}],
        "flashlight": [
            {"WER": 5.0, "processor": 3.0},
            {"WER": 6.0, "processor": 0.5},
            {"WER": 4.5, "processor": 8.0},
            {"WER": 5.5, "processor": 9.0},
        ],
    }
    ours = at_equal_errors("ours", "flashlight", curves)
    assert [(row["WER to reach"], row["times as fast"]) for row in ours] == [(5.0, 3.0), (4.0, "–")]
    theirs = at_equal_errors("flashlight", "ours", curves)
    assert [(row["WER to reach"], row["times as fast"]) for row in theirs] == [
        (6.0, 0.5), (5.0, 3.0), (4.5, 4.0)
    ]  # fmt: skip


def test_topologies() -> None:
    from topology import compare

    rows = compare(20, 1, 50)
    assert [row["topology"] for row in rows] == ["standard", "modified", "ESPnet"]
    assert compare(20, 1, 10)[0]["times as fast"] == "–"


def test_sampled_text_follows_the_counts() -> None:
    from sampled_text import sample_sentences

    counts = {"often": 900, "seldom": 100, "never": 0}
    sentences = list(sample_sentences(counts, 20000, seed=1))
    assert sentences == list(sample_sentences(counts, 20000, seed=1))
    words = [word for sentence in sentences for word in sentence]
    assert 18000 < len(words) < 22000
    assert set(words) == {"often", "seldom"}
    assert 0.8 < words.count("often") / len(words) < 0.97
