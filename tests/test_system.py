"""tools/system.sh: quick where all is there, a line where it cannot install, apt where it can.

The script is the real one, with a command that no machine has in the place of the browser, and
with id and apt-get that only tell how they were called.
"""

from __future__ import annotations

import os
import subprocess

import pytest


@pytest.fixture
def script(repo_root, tmp_path):
    """A copy that misses the package "nothing", and a folder for commands before all others."""
    text = (repo_root / "tools" / "system.sh").read_text()
    changed = text.replace('"chromium chromium"', '"no-such-command nothing"')
    assert changed != text
    path = tmp_path / "system.sh"
    path.write_text(changed)
    (tmp_path / "bin").mkdir()
    # what is not asked about here is there
    for name in ("slurmctld", "slurmd", "munged"):
        put(tmp_path, name, "")
    return path


def put(folder, name, body):
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run(script, *options):
    path = f"{script.parent / 'bin'}:{os.environ['PATH']}"
    command = ["bash", str(script), *options]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=60
    )


def test_without_root_it_says_what_to_install(script):
    put(script.parent, "id", "echo 1000")
    done = run(script)
    assert done.returncode == 0 and done.stdout == ""
    assert "apt-get install nothing" in done.stderr and "skipped" in done.stderr


def test_root_installs_what_is_missing_and_nothing_else(script):
    put(script.parent, "id", "echo 0")
    put(script.parent, "apt-get", f'echo "$@" >> {script.parent}/calls')
    done = run(script)
    assert done.returncode == 0 and "installed nothing" in done.stderr
    calls = (script.parent / "calls").read_text().splitlines()
    assert calls == ["update", "install --yes --no-install-recommends nothing"]


def test_what_apt_says_is_shown_when_it_fails(script):
    put(script.parent, "id", "echo 0")
    put(script.parent, "apt-get", 'echo "E: no such package"; [ "$1" = update ]')
    done = run(script)
    assert done.returncode == 1 and "E: no such package" in done.stderr


def test_check_names_what_is_missing(script):
    done = run(script, "--check")
    assert done.returncode == 1 and done.stderr == "system.sh: missing: nothing\n"
    put(script.parent, "no-such-command", "")
    for options in ((), ("--check",)):
        done = run(script, *options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_options_are_refused(script):
    assert run(script, "--force").returncode == 1
    assert "usage" in run(script, "--help").stdout
