"""Jobs of the recipe: here, and on a real Slurm of one machine; shards of an analysis on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from one_machine_slurm import missing, slurm

from espnet_plugin.bin import analyze
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    absent = missing()
    if absent:
        pytest.skip(f"no Slurm: {', '.join(absent)} not installed (Debian: slurm-wlm, munge)")
    try:
        with slurm() as environment:
            yield environment
    except RuntimeError as error:
        pytest.skip(f"Slurm cannot run here: {error}")


@pytest.fixture(params=["local", "slurm"])
def backend(request):
    """The environment of each backend."""
    environment = request.getfixturevalue("cluster") if request.param == "slurm" else os.environ
    return {**environment, "cmd_backend": request.param, "slurm_options": "--cpus-per-task 1"}


def bash(script, environment, cwd):
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n. {ROOT}/egs/utils.sh\n{script}"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=600,
    )


def test_every_job_runs_with_its_number_and_log(backend, tmp_path):
    script = r"""
        python="env GREETING=hello"
        greet() { ${python} sh -c 'echo "$GREETING $1"' - "$2"; }
        run_jobs JOB=1:2 "log dir/a b.JOB.log" greet x 'it'"'"'s  "JOB" $HOME'
        echo done
    """
    done = bash(script, backend, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    logs = [(tmp_path / "log dir" / f"a b.{n}.log").read_text() for n in (1, 2)]
    assert logs == [f'hello it\'s  "{n}" $HOME\n' for n in (1, 2)]


def test_a_failed_job_is_named_with_the_end_of_its_log(backend, tmp_path):
    script = "run_jobs JOB=1:3 log.JOB bash -c 'echo here JOB; [ JOB != 2 ]'; echo not reached"
    done = bash(script, backend, tmp_path)
    assert done.returncode == 1 and "not reached" not in done.stdout
    assert "here 2" in done.stderr and "job 2 of 3 failed; its log: log.2" in done.stderr
    # what a run before left behind does not count
    done = bash("run_jobs JOB=1:3 log.JOB echo good JOB", backend, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log.2").read_text() == "good 2\n"


def test_a_cancelled_job_has_failed(cluster, tmp_path):
    environment = {**cluster, "cmd_backend": "slurm"}
    script = "run_jobs JOB=1:1 logs/x.JOB.log bash -c 'scancel --name x; sleep 90'"
    done = bash(script, environment, tmp_path)
    assert done.returncode == 1 and "job 1 of 1 failed" in done.stderr
    assert "CANCELLED" in done.stderr


def test_unknown_backends_and_counts_are_refused(tmp_path):
    done = bash("run_jobs JOB=1:2 log.JOB true", {**os.environ, "cmd_backend": "pbs"}, tmp_path)
    assert done.returncode == 1 and "--cmd_backend pbs: local or slurm" in done.stderr
    done = bash("run_jobs JOB=1:x log.JOB true", os.environ, tmp_path)
    assert done.returncode == 1 and "JOB=1:N expected, not x" in done.stderr
    (tmp_path / "bin").mkdir()
    for program in ("bash", "mkdir", "date", "dirname"):
        (tmp_path / "bin" / program).symlink_to(f"/bin/{program}")
    path = {**os.environ, "cmd_backend": "slurm", "PATH": str(tmp_path / "bin")}
    done = bash("run_jobs JOB=1:2 log.JOB true", path, tmp_path)
    assert done.returncode == 1 and "no sbatch here" in done.stderr


def test_an_analysis_in_shards_is_the_analysis(backend, tmp_path):
    layers = ((8, 10, 5), (8, 8, 4), (8, 8, 4), (8, 4, 4))
    layout = {"width": 16, "blocks": 2, "heads": 2, "feed_forward": 24}
    config = Wav2Vec2Config(conv_layers=layers, pos_kernel=8, pos_groups=2, **layout)
    Wav2Vec2Stack(config).save(tmp_path / "stack.pt")
    lines, noise = [], np.random.default_rng(0)
    for n in range(5):
        soundfile.write(tmp_path / f"{n}.wav", noise.normal(0, 0.1, 9000 + 900 * n), 16000)
        lines.append(f"utt{n} {tmp_path}/{n}.wav\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    options = ["--model", str(tmp_path / "stack.pt"), "--data", str(tmp_path), "--num_threads", "1"]
    options += ["--batch_seconds", "1", "--measures", "attention", "patterns", "--out"]
    analyze.main([*options, str(tmp_path / "whole")])
    environment = {**backend, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = " ".join([*options, str(tmp_path / "parts")])
    done = bash(f"python={sys.executable}\nanalyze_jobs 2 logs {words}", environment, tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("attention.json", "patterns.json"):
        whole, parts = (json.loads((tmp_path / d / name).read_text()) for d in ("whole", "parts"))
        del whole["environment"]["date"], parts["environment"]["date"]
        assert whole == parts
    for name in ("attention.npz", "patterns.npz", "tables/attention.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert "shard 2 of 2 is measured" in (tmp_path / "logs" / "analyze.2.log").read_text()
    words = " ".join([*options, str(tmp_path / "one")])
    done = bash(f"python={sys.executable}\nanalyze_jobs 1 logs {words}", environment, tmp_path)
    assert done.returncode == 0 and (tmp_path / "one" / "analysis.json").is_file()
