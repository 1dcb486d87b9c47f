"""Real digits, few of them, and a small stack for them."""

from __future__ import annotations

import shutil

import pytest
import torch
from classify_layout import LAYOUT

from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.recordings import Recordings, read_recordings
from espnet_plugin.data.fsdd import prepare_digits
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


@pytest.fixture(scope="session")
def digits(data_root, tmp_path_factory):
    """Kaldi directories train (index 5 to 8) and test (0, 1): ONE and SIX of two speakers."""
    folder = tmp_path_factory.mktemp("fsdd")
    corpus = folder / "recordings"
    corpus.mkdir()
    for digit in (1, 6):
        for speaker in ("jackson", "theo"):
            for index in (0, 1, 5, 6, 7, 8):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copy(data_root / "fsdd" / "recordings" / name, corpus / name)
    prepare_digits(corpus, folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def recordings(digits) -> Recordings:
    """The training set, for the words."""
    return read_recordings(digits / "train", "word")


@pytest.fixture
def classifier() -> Classifier:
    """Untrained, four blocks of width 16, in evaluation mode."""
    torch.manual_seed(0)
    stack = Wav2Vec2Stack(Wav2Vec2Config.from_dict(LAYOUT))
    for block in stack.blocks:  # so that the blocks do something
        for part in (block.attention.out, block.feed_forward.contract):
            torch.nn.init.normal_(part.weight, std=0.4)
    return Classifier(stack, ["ONE", "SIX"]).eval()
