"""Fixtures that many tests share: where the real recordings are, if they are here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# .ci/run draws the same examples in every run, so that a failure there is about the change at
# hand; elsewhere they are drawn afresh.
settings.register_profile("ci", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout that these tests belong to."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real recordings; the test is skipped, with the reason, where it is absent.

    It is named by the environment variable ESPNET_PLUGIN_DATA; a relative name is taken from
    the root of the checkout, and ../shared/data is the default.
    """
    root = (ROOT / os.environ.get("ESPNET_PLUGIN_DATA", "../shared/data")).resolve()
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}: set ESPNET_PLUGIN_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def librispeech_root(data_root: Path) -> Path:
    """The LibriSpeech folder inside ``data_root`` (it holds train-clean-100 and test-other)."""
    root = data_root / "LibriSpeech"
    if not root.is_dir():
        pytest.skip(f"no LibriSpeech folder in {data_root}")
    return root
