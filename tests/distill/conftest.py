"""A little real speech, and small stacks to teach and be taught."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
import soundfile
from small_teachers import make_teacher

from espnet_plugin.stacks.batches import Utterance, list_utterances
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


@pytest.fixture
def teacher() -> Wav2Vec2Stack:
    return make_teacher()


@pytest.fixture(scope="session")
def speech_dir(librispeech_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Kaldi directory: 12 real utterances, cut to 0.3 to 0.85 s, with a text for each."""
    directory = tmp_path_factory.mktemp("speech")
    texts = ["she sells sea shells", "the quick brown fox", "peter piper picked"]
    scp, text = [], []
    for number, path in enumerate(sorted(librispeech_root.glob("test-other/**/*.flac"))[::4][:12]):
        samples, rate = soundfile.read(str(path), dtype="float32")
        soundfile.write(directory / f"{number:02}.wav", samples[: 4800 + 800 * number], rate)
        scp.append(f"u{number:02} {directory / f'{number:02}.wav'}\n")
        text.append(f"u{number:02} {texts[number % 3]}\n")
    assert len(scp) == 12
    (directory / "wav.scp").write_text("".join(scp))
    (directory / "text").write_text("".join(text))
    return directory


@pytest.fixture(scope="session")
def utterances(speech_dir: Path) -> List[Utterance]:
    return list_utterances(speech_dir)
