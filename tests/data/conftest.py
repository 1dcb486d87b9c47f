"""A tiny mini corpus, made once, and copies of it that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from espnet_plugin.data.mini import MiniOptions, make_mini

TINY = MiniOptions(train_minutes=0.4, dev_minutes=0.1, test_minutes=0.1, min_word_count=0)


@pytest.fixture(scope="session")
def tiny_options() -> MiniOptions:
    """Options of a corpus of 14 utterances (10, 2 and 2)."""
    return TINY


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a mini corpus of 14 utterances; not to be changed."""
    pytest.importorskip("espeakng_loader", reason="the mini corpus is synthesised by eSpeak NG")
    directory = tmp_path_factory.mktemp("tiny")
    make_mini(directory, TINY, nj=1)
    return directory


@pytest.fixture
def copied_corpus(tiny_corpus: Path, tmp_path: Path) -> Path:
    """A copy of ``tiny_corpus`` to damage."""
    return Path(shutil.copytree(tiny_corpus, tmp_path / "copy"))
