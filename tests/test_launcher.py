"""``python3 -m espnet_plugin …`` against ``python3 …``: the same output, exit code and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from espnet_plugin.__main__ import COMMANDS

LAUNCHER = ["-m", "espnet_plugin"]
REPORT = """
import sys
print(sys.argv, sys.path[0], __name__, globals().get("__file__"), __package__)
print(__spec__ and __spec__.name, sys.modules["__main__"].__dict__ is globals())
print(sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions, sys._xoptions)
print(sys.flags.dont_write_bytecode, sys.stdout.write_through)
"""


def python(*args: str, root: Path, cwd: Path, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
        **options,
    )


@pytest.fixture
def folder(tmp_path):
    """A working directory with things to run."""
    (tmp_path / "report.py").write_text(REPORT)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(REPORT)
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "__init__.py").touch()
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "latin.py").write_bytes(
        b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'), __file__)\n"
    )
    (tmp_path / "link.py").symlink_to("scripts/latin.py")
    return tmp_path


SAME = {
    "module": ["-m", "report", "--flag", "two words", "", "*", "-c"],
    "module attached": ["-mreport", "-x"],
    "package": ["-m", "package", "a"],
    "module absent": ["-m", "no_such_module"],
    "package without main": ["-m", "empty"],
    "script": ["report.py", "-m", "json", "--", "-V"],
    "script elsewhere": [os.path.join("scripts", "latin.py")],
    "script by a link": ["link.py"],
    "script absent": ["no_such_script.py"],
    "directory": ["package", "b"],
    "zip": ["zipped.zip", "c"],
    "code": ["-c", REPORT, "-c", "'quoted'"],
    "code attached": ["-c" + REPORT, "d"],
    "standard input": ["-", "e", "-u"],
    "no argument": [],
    "options": ["-O", "-W", "error::UserWarning", "-Xdev", "-m", "report", "-W", "f"],
    "options joined": ["-uBOOm", "report"],
    "options and code": ["-Werror", "-X", "utf8=1", "-c", REPORT, "g"],
    "options and input": ["-B", "-", "h"],
    "version": ["-V"],
    "version in long": ["--version"],
    "help": ["-h"],
    "exit code": ["-c", "import sys; sys.exit(7)"],
    "exit message": ["-c", "import sys; sys.exit('in words')"],
    "missing value": ["-m"],
}


@pytest.mark.parametrize("name", SAME)
def test_it_does_what_python_does(name, folder, repo_root):
    ours = python(*LAUNCHER, *SAME[name], root=repo_root, cwd=folder, input=REPORT)
    theirs = python(*SAME[name], root=repo_root, cwd=folder, input=REPORT)
    assert ours.returncode == theirs.returncode
    assert ours.stdout == theirs.stdout
    if name != "missing value":
        assert ours.stderr == theirs.stderr
    assert theirs.stdout or theirs.returncode


def test_an_exception_has_its_traceback_and_exit_code(folder, repo_root):
    ours = python(*LAUNCHER, "-c", "{}['key']", root=repo_root, cwd=folder)
    theirs = python("-c", "{}['key']", root=repo_root, cwd=folder)
    assert ours.returncode == theirs.returncode == 1
    assert ours.stderr.splitlines()[-2:] == theirs.stderr.splitlines()[-2:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_as_it_ends_python(number, folder, repo_root):
    code = "import time; print('ready', flush=True); time.sleep(60)"
    ended = []
    for head in (LAUNCHER, LAUNCHER + ["-u"], []):
        process = subprocess.Popen(
            [sys.executable, *head, "-c", code],
            env={**os.environ, "PYTHONPATH": str(repo_root)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # a shell's job in the background ignores it, and so would the process
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        ended.append(process.wait(timeout=20))
        process.stdout.close()
    assert ended == [-number] * 3


@pytest.mark.parametrize("option", ["-i", "-S", "-x", "-Z", "--no-such-option"])
def test_an_option_that_is_not_supported_is_one_clear_line(option, folder, repo_root):
    done = python(*LAUNCHER, option, "-c", "print('ran')", root=repo_root, cwd=folder)
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert f"option {option} of python3 is unknown or not supported" in done.stderr


def test_the_safe_path_is_kept_safe(folder, repo_root):
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought -P")
    code = "import sys; print(sys.path)"
    ours = python("-P", *LAUNCHER, "-c", code, root=repo_root, cwd=folder)
    theirs = python("-P", "-c", code, root=repo_root, cwd=folder)
    assert ours.stdout == theirs.stdout


def test_a_spawned_process_can_import_the_main_script(folder, repo_root):
    (folder / "spawns.py").write_text(
        "import multiprocessing\n"
        "def double(x):\n    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    for target in (["spawns.py"], ["-m", "spawns"]):
        done = python(*LAUNCHER, *target, root=repo_root, cwd=folder)
        assert done.stdout == "[2, 4]\n", done.stderr


def test_the_commands_that_are_replaced_exist(repo_root):
    for theirs, ours in COMMANDS.items():
        assert find_spec(theirs) is not None
        assert (repo_root / (ours.replace(".", "/") + ".py")).is_file()


def test_it_starts_as_fast_as_python(folder, repo_root):
    """Neither torch nor ESPnet is imported, which would take seconds; the best of five is taken."""
    seconds = {}
    for name, head in {"ours": LAUNCHER, "theirs": []}.items():
        tries = []
        for _ in range(5):
            started = time.perf_counter()
            python(*head, "-c", "pass", root=repo_root, cwd=folder)
            tries.append(time.perf_counter() - started)
        seconds[name] = min(tries)
    assert seconds["ours"] < seconds["theirs"] + 0.2
