"""Set-up: tools/setup.sh on a small checkout of its own, and the wheel of the real one.

The small checkout has the real script, a path with spaces and pins that need no network: the
build tools of the environment that runs the tests, packed again as wheels.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

MODERN = sys.version_info >= (3, 12)
NAME, VENV, OPTIONS = ("modern", ".venv-modern", ["--modern"]) if MODERN else ("full", ".venv", [])
VERSION = "3.12" if MODERN else "3.10"
BUILD_TOOLS = ("setuptools", "wheel", "packaging")


def repack(name: str, folder: Path) -> str:
    """Write the installed distribution ``name`` as a wheel into ``folder``; return its pin."""
    distribution = importlib.metadata.distribution(name)
    target = folder / f"{name}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as wheel:
        for file in distribution.files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(distribution.locate_file(file), str(file))
    return f"{name}=={distribution.version}\n"


class Checkout:
    """A checkout with the real tools/setup.sh and a project of one empty module."""

    def __init__(self, root: Path, script: Path):
        self.root = root
        self.venv = root / VENV
        self.pins = root / "tools" / f"requirements-{NAME}.txt"
        self.failed: subprocess.CompletedProcess
        self.mended: subprocess.CompletedProcess
        self.stamp_after_failure: bool
        wheels = root / "wheels"
        for folder in (root / "tools", root / "small_project", wheels):
            folder.mkdir(parents=True)
        shutil.copy2(script, root / "tools" / "setup.sh")
        pins = "".join(repack(name, wheels) for name in BUILD_TOOLS)
        (root / "tools" / f"bootstrap-{NAME}.txt").write_text(pins)
        self.pins.write_text("# none\n")
        (root / "small_project" / "__init__.py").write_text("")
        (root / "setup.cfg").write_text(
            "[metadata]\nname = small_project\nversion = 1\n[options]\npackages = small_project\n"
        )
        (root / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        )
        self.environment = {
            **os.environ,
            "PATH": os.path.join(sys.base_exec_prefix, "bin") + os.pathsep + os.environ["PATH"],
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": wheels.as_uri(),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def setup(self, *options: str, **environment: str) -> subprocess.CompletedProcess:
        """Run tools/setup.sh from another folder; return its exit status and messages."""
        return subprocess.run(
            [str(self.root / "tools" / "setup.sh"), *OPTIONS, *options],
            cwd=self.root.parent,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
        )

    def project_file(self) -> str:
        """Where the environment's Python finds the project."""
        command = [str(self.venv / "bin" / "python"), "-c"]
        command += ["import small_project; print(small_project.__file__)"]
        return subprocess.check_output(command, text=True, cwd=self.root.parent).strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, repo_root):
    """A small checkout: a first set-up fails half-way, a second one mends that."""
    checkout = Checkout(tmp_path_factory.mktemp("a path") / "with spaces", script(repo_root))
    checkout.pins.write_text("no-such-package==1.0\n")
    checkout.failed = checkout.setup()
    checkout.stamp_after_failure = (checkout.venv / "setup.stamp").exists()
    (checkout.venv / "half").write_text("")
    checkout.pins.write_text("# none\n")
    checkout.mended = checkout.setup()
    return checkout


def script(repo_root: Path) -> Path:
    return repo_root / "tools" / "setup.sh"


def folder_without_python(tmp_path: Path) -> str:
    """A PATH with the commands that the script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ("bash", "env", "cat", "dirname", "sha256sum", "flock", "head"):
        (folder / command).symlink_to(shutil.which(command) or command)
    return str(folder)


def test_failure_shows_the_end_of_the_log_and_leaves_no_stamp(checkout):
    assert checkout.failed.returncode != 0
    assert "FAILED" in checkout.failed.stdout and "no-such-package==1.0" in checkout.failed.stdout
    assert not checkout.stamp_after_failure


def test_half_built_environment_is_built_anew(checkout):
    assert checkout.mended.returncode == 0, checkout.mended.stdout
    assert "half-built or out of date" in checkout.mended.stdout
    assert not (checkout.venv / "half").exists()
    assert checkout.project_file() == str(checkout.root / "small_project" / "__init__.py")
    assert (checkout.venv / "setup.stamp").read_text().count("\n") == 2


def test_second_call_does_nothing_within_two_seconds(checkout):
    before = (checkout.venv / "setup.stamp").stat().st_mtime_ns
    start = time.monotonic()
    result = checkout.setup()
    assert time.monotonic() - start < 2.0
    assert (result.returncode, result.stdout) == (0, "")
    assert (checkout.venv / "setup.stamp").stat().st_mtime_ns == before


def test_changed_metadata_installs_the_project_again_and_keeps_the_rest(checkout):
    witness = checkout.venv / "witness"
    witness.write_text("")
    with open(checkout.root / "setup.cfg", "a") as stream:
        stream.write("# changed\n")
    result = checkout.setup()
    assert result.returncode == 0, result.stdout
    assert "small" not in result.stdout and "editable" in result.stdout
    assert witness.exists()
    assert checkout.setup().stdout == ""


def test_one_set_up_at_a_time(checkout):
    (checkout.venv / "setup.stamp").unlink()
    with open(checkout.root / "tools" / "setup.sh") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(subprocess.TimeoutExpired) as waiting:
            subprocess.run(
                [str(checkout.root / "tools" / "setup.sh"), *OPTIONS],
                env=checkout.environment,
                stderr=subprocess.PIPE,
                timeout=1.5,
            )
    assert b"another set-up is running" in (waiting.value.stderr or b"")


def test_one_line_where_there_is_no_python(tmp_path, repo_root):
    checkout = Checkout(tmp_path / "checkout", script(repo_root))
    path = folder_without_python(tmp_path)
    result = checkout.setup(PATH=path, HOME=str(tmp_path), PYENV_ROOT=str(tmp_path / "pyenv"))
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1
    assert f"no Python {VERSION}" in result.stdout and f"pyenv install {VERSION}" in result.stdout
    assert not checkout.venv.exists()


def test_python_is_found_among_the_versions_of_pyenv(tmp_path, repo_root):
    checkout = Checkout(tmp_path / "checkout", script(repo_root))
    versions = tmp_path / "pyenv" / "versions"
    versions.mkdir(parents=True)
    (versions / f"{VERSION}.99").symlink_to(sys.base_exec_prefix)
    shims = tmp_path / "bin" / f"python{VERSION}"
    path = folder_without_python(tmp_path)
    shims.write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
    shims.chmod(0o755)
    # With no 'rm' on this PATH the build stops right after the search, which is what is tested.
    result = checkout.setup(PATH=path, HOME=str(tmp_path), PYENV_ROOT=str(tmp_path / "pyenv"))
    assert "found no Python" not in result.stdout and "rm: " in result.stdout


def test_unknown_options_are_refused(repo_root):
    result = subprocess.run([script(repo_root), "--old"], stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "setup.sh: usage: tools/setup.sh [--modern]\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, repo_root):
    """The wheel of the real project, built from a copy that holds no earlier build."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(repo_root / "espnet_plugin", copy / "espnet_plugin", ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(repo_root / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--quiet", "--no-index", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True, timeout=200)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_holds_the_package_and_nothing_else(wheel, repo_root):
    package = repo_root / "espnet_plugin"
    expected = {
        str(path.relative_to(repo_root))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert "espnet_plugin/py.typed" in names


def test_every_folder_with_modules_is_a_package(repo_root):
    package = repo_root / "espnet_plugin"
    folders = {path.parent for path in package.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_wheel_metadata(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Requires-Python"] == ">=3.10"
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert extras == {"bench", "export", "fairseq", "k2", "probe", "report", "synth", "test"}
    assert any(member.endswith("LICENSE") for member in wheel.namelist())


@pytest.mark.parametrize("name", ["full", "modern"])
def test_pins_are_exact_and_unique(repo_root, name):
    lines = []
    for kind in ("bootstrap", "requirements"):
        text = (repo_root / "tools" / f"{kind}-{name}.txt").read_text()
        lines += [line for line in text.splitlines() if line and not line.startswith("#")]
    packages = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert all(line.count("==") == 1 for line in lines)
    assert len(set(packages)) == len(packages)


def test_importing_the_package_is_cheap():
    code = "import sys, espnet_plugin; print([m for m in ('torch', 'espnet2') if m in sys.modules])"
    start = time.monotonic()
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output == "[]\n"
    assert time.monotonic() - start < 2.0
