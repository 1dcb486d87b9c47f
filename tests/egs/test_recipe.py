"""egs/run.sh: its options, its helpers, and all its stages on a few minutes of speech."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from espnet_plugin.surgery.plan import BlockPlan

ROOT = Path(__file__).parents[2]
RUN = ROOT / "egs" / "run.sh"
# attention_rescoring is left out: the mini models have no attention decoder.
K2_METHODS = ("ctc", "hlg", "nbest", "nbest_oracle", "nbest_rescoring", "whole_lattice_rescoring")

ARMS = (
    *("--arms_budget_args", "--utterances 2 --seconds 2 --width 1 --rounds 2 --compare"),
    *("--arms_heal_args", "--max_updates 2 --batch_seconds 10"),
    *("--arms_bench_args", "--seconds 1 --batch 1 --repeats 1"),
)


def bash(script: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n. {ROOT}/egs/utils.sh\n{script}"],
        capture_output=True,
        text=True,
        **options,
    )


def run(*args: str, timeout: float = 60) -> subprocess.CompletedProcess:
    command = ["bash", str(RUN), "--python", sys.executable, *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.mark.parametrize("option", ["--nbpe 77", "--nbpe=77", "--n-bpe 77"])
def test_options_take_kaldis_forms(option):
    script = f"option_names='nbpe n_bpe'; nbpe=1 n_bpe=1; parse_options {option}; echo $nbpe $n_bpe"
    assert "77" in bash(script).stdout.split()


def test_option_values_keep_spaces_and_quotes():
    script = 'option_names=sets; sets=; parse_options --sets "a \'b\' \\$c"; echo "$sets"'
    assert bash(script).stdout == "a 'b' $c\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--no_such", "1"], "no option --no_such"),
        (["--stage"], "--stage needs a value"),
        (["5"], "unexpected argument: 5"),
        (["--corpus", "nowhere"], "--corpus nowhere: there is no egs/nowhere/asr1/corpus.sh"),
        (["--option_names", "1"], "no option --option_names"),
        (["--stage", "four"], "--stage four: not a whole number"),
        (["--skip_done", "yes"], "--skip_done yes: true or false"),
        (["--arms", "some"], "--arms some: none, few or all"),
    ],
)
def test_wrong_options_are_named(args, message):
    done = run(*args)
    assert done.returncode == 1 and message in done.stderr


@pytest.mark.parametrize("corpus", ["mini", "librispeech", "librispeech_100"])
def test_help_shows_the_settings_of_the_corpus(corpus):
    done = run("--corpus", corpus, "--help")
    assert done.returncode == 0
    settings = (ROOT / "egs" / corpus / "asr1" / "corpus.sh").read_text()
    test_sets = [x for x in settings.splitlines() if x.startswith("test_sets=")] or ['="test"']
    assert f"--test_sets              {test_sets[0].split('=')[1].strip(chr(34))}" in done.stdout


def test_lines_are_dealt_once_and_in_order(tmp_path):
    (tmp_path / "scp").write_text("".join(f"u{i:02} x\n" for i in range(11)))
    bash("split_lines scp 4 part", cwd=tmp_path)
    parts = [(tmp_path / f"part.{n}.scp").read_text() for n in range(1, 5)]
    assert "".join(parts) == (tmp_path / "scp").read_text()
    assert {part.count("\n") for part in parts} == {2, 3}


def test_a_failed_job_stops_the_recipe_and_shows_its_log(tmp_path):
    script = "run_jobs JOB=1:3 log.JOB bash -c 'echo here JOB; [ JOB != 2 ]'; echo not reached"
    done = bash(script, cwd=tmp_path)
    assert done.returncode == 1 and "not reached" not in done.stdout
    assert "here 2" in done.stderr and "job 2 of 3 failed" in done.stderr


def test_sets_are_limited_by_duration(tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    for name, values in {
        "wav.scp": ["a.flac", "b.flac", "c.flac"],
        "text": ["A", "B B", "C"],
        "utt2spk": ["s", "s", "t"],
        "utt2dur": ["0.05", "3.0", "30.0"],
    }.items():
        lines = zip(["u1", "u2", "u3"], values, strict=True)
        (source / name).write_text("".join(f"{u} {v}\n" for u, v in lines))
    done = bash("format_set data dump 0.1 20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dump" / "text").read_text() == "u2 B B\n"
    assert (tmp_path / "dump" / "spk2utt").read_text() == "s u2\n"
    assert "1 of 3 utterances" in done.stdout
    before = sorted(p.name for p in (tmp_path / "dump").iterdir())
    done = bash("format_set data dump 100 200", cwd=tmp_path)
    assert done.returncode == 1 and "no utterance of 100 to 200 seconds" in done.stderr
    assert sorted(p.name for p in (tmp_path / "dump").iterdir()) == before


def test_librispeech_that_is_not_there_is_named(tmp_path):
    args = ["--corpus", "librispeech", "--corpus_dir", str(tmp_path), "--workdir", str(tmp_path)]
    done = run(*args, "--stop_stage", "0")
    assert done.returncode == 1 and f"{tmp_path}/train-clean-100 is not there" in done.stderr


@pytest.mark.timeout(1800)
def test_all_stages(tmp_path):
    pytest.importorskip("espeakng_loader", reason="stage 0 synthesises")
    work = tmp_path / "work"
    size = "--train_minutes 1 --dev_minutes 0.4 --test_minutes 0.4 --min_word_count 0"
    done = run(
        *("--workdir", str(work), "--data_args", size, "--nbpe", "40", "--num_threads", "1"),
        *("--corpus_dir", f"{tmp_path}/mini/LibriSpeech"),
        *("--asr_args", "--max_epoch 1 --num_workers 0"),
        *("--bench_args", "--seconds 1 --batch 1 --repeats 1"),
        *ARMS,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (work / "exp" / "RESULTS.md").read_text()
    for heading in ("Environments", "Summary", "asr_reuse_conformer", "Benchmark", "Block plan"):
        assert f"## {heading}" in page
    command = next(line for line in page.splitlines() if line.startswith("Command: "))
    assert '--nbpe "40"' in command and "--workdir" not in command
    models = work / "exp"
    references = (work / "dump" / "raw" / "test" / "text").read_text().splitlines()
    for name in ("asr_conformer", "asr_reuse_conformer"):
        with_k2 = find_spec("k2") is not None
        methods = K2_METHODS if with_k2 else ("greedy",)
        scores = json.loads((models / name / "score" / "results.json").read_text())["wer"]
        assert len(scores) == len(methods)
        for method in methods:
            tag = f"decode_k2_{method}" if with_k2 else "decode_greedy"
            decoding = models / name / f"{tag}_valid.loss.ave" / "test"
            hypotheses = (decoding / "1best_recog" / "text").read_text().splitlines()
            assert [h.split()[0] for h in hypotheses] == [r.split()[0] for r in references]
            wer = scores[f"{decoding.parent.name}/test"]
            assert wer["tokens"] == sum(len(r.split()) - 1 for r in references)
            assert f"|{name}|{method}|{wer['error_rate']:.2f}" in page
            assert (decoding / "lattices").exists() == (method in ("ctc", "hlg"))
        assert "meta.yaml" in zipfile.ZipFile(models / "packed" / f"{name}.zip").namelist()
    arms = ["original", "drop_block_influence", "budget", "budget_healed"]
    table = page.split("## Edits of asr_conformer")[1].split("\n## ")[0]
    assert [row.split("|")[1] for row in table.splitlines() if row.startswith("|")][2:] == arms
    assert "|drop_block_influence|drop " in table and "|2 updates, " in table
    assert "reuse_attention" in (models / "plan" / "reuse_attention.yaml").read_text()
    analysis = models / "asr_conformer" / "analysis_test"
    measured = json.loads((analysis / "analysis.json").read_text())["measures"]
    assert {"attention", "similarity", "relation", "phone_probe", "examples"} <= measured.keys()
    section = page.split("## Attention of asr_conformer")[1].split("\n## ")[0]
    assert "|upper blocks are more diagonal than lower ones" in section
    assert json.loads((models / "plan" / "diagnosis.json").read_text())["stack_blocks"] == 6
    assert (models / "report.html").stat().st_size > 1_000_000
    assert (models / "figures" / "patterns.pdf").read_bytes().startswith(b"%PDF")
    again = run(
        *("--workdir", str(work), "--skip_done", "true", "--nbpe", "40"),
        *("--corpus_dir", f"{tmp_path}/mini/LibriSpeech"),
    )
    assert again.returncode == 0 and again.stdout.count("done before, skipped") == 11
    # A finished training is not an error when it is called again; another plan's model is.
    options = ("--workdir", str(work), "--nbpe", "40", "--asr_args", "--max_epoch 1")
    restarted = run(*options, "--stage", "4", "--stop_stage", "4", timeout=300)
    assert restarted.returncode == 0 and "1epoch results" in restarted.stdout, restarted.stderr
    ranked = ("--analyze", "all", "--rank_args", "--parts 1 --random 1 --spans 5 --single false")
    every = ("--arms", "all", "--stage", "4", "--stop_stage", "6")
    every = run(*options, *ARMS, *every, *ranked, timeout=900)
    assert every.returncode == 0, every.stdout[-3000:] + every.stderr[-3000:]
    for name in ("asr_conformer", "asr_wav2vec2"):
        ranking = models / name / "analysis_test" / "ranking" / "ranking.json"
        assert "diagonality" in json.loads(ranking.read_text())["curves"]
    names = bash(f". {ROOT}/egs/arms.sh; arm_names all").stdout.split()
    for name in {name.removesuffix("_healed") for name in names}:
        plan = BlockPlan.load(models / "arms" / "asr_wav2vec2" / "plans" / f"{name}.yaml")
        assert (plan.stack.family, plan.stack.blocks) == ("wav2vec2", 8)
        assert bool(plan.actions) == (name != "original")
    plan = ("--plan_args", "--group_size 2")
    other = run(*options, *ARMS, "--stage", "6", "--stop_stage", "7", *plan, timeout=300)
    assert other.returncode == 1 and "was trained with another plan" in other.stderr


def test_a_configuration_that_is_not_there_is_named_at_once(tmp_path):
    done = run("--workdir", str(tmp_path), "--asr_config", "conf/none.yaml")
    assert done.returncode == 1 and "--asr_config conf/none.yaml: no such file" in done.stderr
