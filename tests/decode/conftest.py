"""A small model with random parameters and some noise to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from tiny_models import SENTENCES, write_experiment


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "asr")


@pytest.fixture(scope="session")
def waveforms() -> list[np.ndarray]:
    """Noise of 1.0, 2.1, 0.2 and 1.6 s, 40 samples, and nothing."""
    generator = np.random.default_rng(1)
    sizes = (16000, 33600, 3200, 25600, 40, 0)
    return [generator.normal(0, 0.1, size).astype(np.float32) for size in sizes]


@pytest.fixture(scope="session")
def lang(tiny_experiment: Path, tmp_path_factory) -> Path:
    """HLG.pt, lm.arpa and the tokens of the tiny model."""
    pytest.importorskip("k2", reason="k2 is not installed for this torch")
    pytest.importorskip("kaldilm", reason="kaldilm is not installed")
    from espnet_plugin.bin import compile_graph, prepare_lang
    from espnet_plugin.lm import train_ngram

    folder = tmp_path_factory.mktemp("lang")
    tokens = yaml.safe_load((tiny_experiment / "config.yaml").read_text())["token_list"]
    (folder / "tokens.txt").write_text("\n".join(tokens) + "\n")
    (folder / "words").write_text("\n".join(sorted(set(" ".join(SENTENCES).split()))) + "\n")
    train_ngram([s.split() for s in SENTENCES], 2).save(folder / "lm.arpa")
    prepare_lang.main(["--out", str(folder / "lang"), "--tokens", str(folder / "tokens.txt"),
                       "--bpemodel", str(tiny_experiment / "bpe.model"),
                       "--words", str(folder / "words")])  # fmt: skip
    compile_graph.main(["--lang_dir", str(folder / "lang"), "--arpa", str(folder / "lm.arpa"),
                        "--out", str(folder / "HLG.pt")])  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Noise of 1 and 1.5 s and an empty recording, with transcripts."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(1)
    lines = []
    for name, size in (("a", 16000), ("b", 0), ("c", 24000)):
        soundfile.write(folder / f"{name}.wav", generator.normal(0, 0.1, size), 16000)
        lines.append(f"{name} {folder / name}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    (folder / "text").write_text(f"a {SENTENCES[0]}\nb\nc {SENTENCES[1]}\n")
    return folder
