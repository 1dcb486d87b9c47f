"""A small model with random parameters and some noise to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_experiment


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "asr")


@pytest.fixture(scope="session")
def waveforms() -> list[np.ndarray]:
    """Noise of 1.0, 2.1, 0.2 and 1.6 s, 40 samples, and nothing."""
    generator = np.random.default_rng(1)
    sizes = (16000, 33600, 3200, 25600, 40, 0)
    return [generator.normal(0, 0.1, size).astype(np.float32) for size in sizes]
