"""RESULTS.md: every figure on the page is the one in the files it is made from."""

from __future__ import annotations

import json

import pytest

from espnet_plugin.bin.results import main
from espnet_plugin.bin.score import main as score
from espnet_plugin.report.analysis_tables import category_table
from espnet_plugin.report.decodings import ResultsError, read_decodings

REFERENCES = {"test": ["a b c d", "e f"], "other": ["a b", "c"]}
HYPOTHESES = {"test": ["a b x d", "e f"], "other": ["a", ""]}
WER = {"test": 100 / 6, "other": 200 / 3}


@pytest.fixture
def experiments(tmp_path):
    """Two models with scored decodings, a benchmark, an analysis and a plan."""
    texts = {}
    for name, sentences in REFERENCES.items():
        path = tmp_path / "dump" / name / "text"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"u{i} {s}\n" for i, s in enumerate(sentences)))
        texts[name] = path
    for model in ("asr_a", "asr_b"):
        hyps = []
        for name, sentences in HYPOTHESES.items():
            folder = tmp_path / model / "decode" / name
            (folder / "1best_recog").mkdir(parents=True)
            hyps.append(folder / "1best_recog" / "text")
            hyps[-1].write_text("".join(f"u{i} {s}\n" for i, s in enumerate(sentences)))
            for tag, method in (("decode", "hlg"), ("again", "nbest_rescoring")):
                where = tmp_path / model / tag / name
                where.mkdir(parents=True, exist_ok=True)
                times = {"encoder_rtf": 0.0125, "search_rtf": 0.0042, "rescoring_rtf": 0.0}
                if method != "hlg":
                    times = {"encoder_rtf": 0.0, "search_rtf": 0.0, "rescoring_rtf": 0.0021}
                (where / "rtf.json").write_text(json.dumps({"method": method, **times}))
            (folder / "lattices").mkdir()
            (folder / "density.json").write_text('{"total": {"density": 4.32}}')
            (folder / "oracle.json").write_text('{"total": {"oracle_wer": 1.234}}')
        tags = ["decode", "again"] if model == "asr_a" else ["decode"]
        score(
            ["--hyp", *map(str, hyps * len(tags))]
            + ["--ref", *map(str, [*texts.values()] * len(tags))]
            + ["--name", *[f"{tag}/{name}" for tag in tags for name in texts]]
            + ["--output_dir", str(tmp_path / model / "score")]
        )
    (tmp_path / "bench").mkdir()
    sizes = {"encoder_parameters": 1234000, "macs_per_second": 5.678e7}
    benchmark = {
        "models": {"asr_a": sizes, "asr_b": sizes},
        "macs_seconds": 30.0,
        "environment": {"threads": 2},
    }
    (tmp_path / "bench" / "benchmark.json").write_text(json.dumps(benchmark))
    (tmp_path / "bench" / "benchmark.md").write_text("|the benchmark|\n")
    heads = [
        {"category": category, "globalness": 1.0 + i, "verticality": -1.0}
        | {"diagonality": -0.25, "cumulative_diagonality": 0.75}
        for i, category in enumerate(["diagonal", "vertical", "diagonal"])
    ]
    about = {
        "model": {"directory": "exp/asr_a", "sha256": "abc"},
        "data": {"utterances": 2, "seconds": 90.0, "directory": "dump/test"},
    }
    analysis = {
        "schema": "espnet_plugin/attention/2",
        **about,
        "blocks": [{"block": 0, "heads": heads}],
    }
    rise = {"mean_rise": 4.5, "interval_95": [3.25, 6.0]}
    contrast = {"difference": 2.5, "interval_95": [1.5, 3.5]}
    ranking = {
        "schema": "espnet_plugin/ranking/1",
        **about,
        "unedited": {"wer": {"rate": 7.5}},
        "orders": {"diagonality": [[0, 0]]},
        "summary": {"diagonality": {"wer": rise}},
        "contrasts": [{"more": "diagonality", "less": "globalness", "measures": {"wer": contrast}}],
    }
    other = {**ranking, "model": {"directory": "exp/asr_c", "sha256": "def"}}
    other["summary"] = {"globalness": {"wer": rise}}
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "attention.json").write_text(json.dumps(analysis))
    for name, content in (("ranking", ranking), ("other", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "plan.yaml").write_text("actions: []\n")
    return tmp_path


def command(folder, *more):
    models = [str(folder / name) for name in ("asr_a", "asr_b")]
    return [
        *(
            "--exp_dir",
            *models,
            "--decode",
            "decode",
            "again",
            "--benchmark",
            str(folder / "bench"),
        ),
        *("--analysis", str(folder / "analysis"), "--plan", str(folder / "plan.yaml")),
        *("--title", "T", "--note", "Scale: mini.", "--command", "egs/run.sh"),
        *("--out", str(folder / "RESULTS.md"), *more),
    ]


def test_page_holds_the_figures_and_their_circumstances(experiments):
    main(command(experiments))
    page = (experiments / "RESULTS.md").read_text()
    assert page.startswith("# T\n\nScale: mini.\n\nCommand: `egs/run.sh`\n\n## Environments\n")
    for name in ("date", "python", "espnet", "torch", "git"):
        assert f"- {name}: `" in page
    lines = page.splitlines()
    first, last = (lines.index(line) for line in lines if line.startswith("|model|"))
    keys = lines[first].strip("|").split("|")
    rows = [
        dict(zip(keys, line.strip("|").split("|"), strict=True))
        for line in lines[first + 2 : last]
        if line.startswith("|asr_")
    ]
    expected = [("asr_a", "hlg"), ("asr_a", "nbest_rescoring"), ("asr_b", "hlg")]
    assert [(row["model"], row["method"]) for row in rows] == expected
    for row in rows:
        for name, rate in WER.items():
            assert row[f"WER {name}"].startswith(f"{rate:.2f} (")
        of_lattices = [row["oracle test"], row["oracle other"], row["density"]]
        times = [row[f"RTF {part}"] for part in ("encoder", "search", "rescoring")]
        if row["method"] == "hlg":
            assert of_lattices == ["1.23", "1.23", "4.3"]
            assert times == ["0.0125", "0.0042", "–"]
        else:
            assert of_lattices == ["–", "–", "–"]
            assert times == ["–", "–", "0.0021"]
    assert "|asr_a|1.234|0.057|" in page and "|asr_b|1.234|0.057|" in page
    assert "|decode/test|2|6|83.3|16.7|0.0|0.0|16.7|50.0|" in page
    assert "|the benchmark|" in page and "On 2 utterances, 1.5 minutes of test." in page
    assert "|0|2|1|0|2.000|-1.000|-0.250|0.750|" in page
    assert "What the papers found" not in page
    assert "```yaml\nactions: []\n```" in page


def test_rankings_are_shown_with_the_analysis_of_their_model(experiments):
    rankings = [str(experiments / f"{name}.json") for name in ("ranking", "other")]
    main(command(experiments, "--ranking", *rankings))
    page = (experiments / "RESULTS.md").read_text()
    assert "|diagonality|4.50 (3.25 to 6.00)|" in page and "|globalness|" not in page
    assert "Unpruned: wer 7.50." in page
    claim = "|pruning heads by diagonality first costs more than by globalness first: wer"
    (row,) = [line for line in page.splitlines() if line.startswith(claim)]
    assert "|holds|mean rise over the curve +2.5 (+1.5 to +3.5) points|" in row


def test_category_table_counts_every_head(experiments):
    analysis = json.loads((experiments / "analysis" / "attention.json").read_text())
    counts = category_table(analysis)[2].strip("|").split("|")[1:4]
    assert sum(map(int, counts)) == len(analysis["blocks"][0]["heads"])


@pytest.mark.parametrize(
    "missing",
    [
        *("asr_b/score/results.json", "asr_a/decode/other/rtf.json"),
        *("asr_a/decode/test/oracle.json", "asr_b/decode/other/density.json"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(experiments, missing):
    (experiments / missing).unlink()
    with pytest.raises(SystemExit, match=f"{missing}: not there"):
        main(command(experiments))
    assert not (experiments / "RESULTS.md").exists()


def test_a_folder_without_an_analysis_is_named(experiments):
    (experiments / "analysis" / "attention.json").unlink()
    with pytest.raises(SystemExit, match="analysis: no analysis; espnet_plugin.bin.analyze"):
        main(command(experiments))
    assert not (experiments / "RESULTS.md").exists()


def test_a_model_that_was_not_benchmarked_is_named(experiments):
    path = experiments / "bench" / "benchmark.json"
    benchmark = json.loads(path.read_text())
    del benchmark["models"]["asr_b"]
    path.write_text(json.dumps(benchmark))
    with pytest.raises(SystemExit, match=r"no model asr_b \(it has asr_a\)"):
        main(command(experiments))


def test_an_unknown_real_time_factor_is_a_dash(experiments):
    path = experiments / "asr_b" / "decode" / "test" / "rtf.json"
    times = {f"{part}_rtf": None for part in ("encoder", "search", "rescoring")}
    path.write_text(json.dumps({"method": "hlg", **times}))
    main(command(experiments))
    assert "|4.3|–|–|–|" in (experiments / "RESULTS.md").read_text()


def test_scores_that_are_no_json_or_of_other_decodings_are_named(experiments):
    with pytest.raises(ResultsError, match="no scores of elsewhere"):
        read_decodings(experiments / "asr_a", ["elsewhere"])
    (experiments / "asr_a" / "score" / "results.json").write_text("{")
    with pytest.raises(ResultsError, match="results.json: not JSON"):
        read_decodings(experiments / "asr_a", ["decode"])
