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


def test_what_is_not_a_number_is_empty_and_named(caplog) -> None:
    log_probs = torch.log_softmax(torch.randn(3, 5, 4, generator=torch.manual_seed(0)), -1)
    whole = greedy_search(log_probs, torch.tensor([5, 5, 3]))
    log_probs[0, 2, 3] = log_probs[2, 4, 1] = float("nan")  # of the third one only padding
    labels, scores = greedy_search(log_probs, torch.tensor([5, 5, 3]), ["a", "b", "c"])
    assert (labels[0], scores[0]) == ([], float("-inf"))
    assert (labels[1:], scores[1:]) == (whole[0][1:], whole[1][1:])
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["a"]
