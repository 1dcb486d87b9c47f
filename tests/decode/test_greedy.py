from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.decode import greedy_search


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_greedy_is_the_collapse_of_the_argmax(seed: int, lengths: list[int]) -> None:
    generator = np.random.default_rng(seed)
    log_probs = generator.normal(size=(len(lengths), 12, 3)).astype(np.float32)
    labels, scores = greedy_search(torch.from_numpy(log_probs), torch.tensor(lengths))
    for i, frames in enumerate(lengths):
        expected, last = [], 0
        for t in range(frames):
            token = int(np.argmax(log_probs[i, t]))
            if token != last and token != 0:
                expected.append(token)
            last = token
        assert labels[i] == expected
        best = log_probs[i, :frames].astype(np.float64).max(axis=-1).sum() if frames else 0.0
        assert scores[i] == pytest.approx(best, abs=1e-9)
