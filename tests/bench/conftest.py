"""The benchmarks' scripts are found by the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bench_folder(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tools/bench``, from where its modules can be imported."""
    folder = repo_root / "tools" / "bench"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder
