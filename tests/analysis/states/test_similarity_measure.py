"""The measure ``similarity`` in the suite: any split, plain values, reasons."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from espnet_plugin.analysis.states.similarity_measure import StateSimilarity, make
from espnet_plugin.analysis.suite.measure import Context, Utterances
from espnet_plugin.compat import torch_load


def seen(batches, samples: str = "frames") -> StateSimilarity:
    measure = StateSimilarity(samples, 3, (1, 5), most=6)
    for names, states, lengths in batches:
        speech = torch.zeros(len(names), 1)
        measure.begin(Utterances(names, torch.ones(len(names)).long(), 16000, speech))
        with torch.inference_mode():
            measure.end(states, lengths)
    return measure


def batches(count: int = 6, states: int = 7):
    found = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        x = [torch.randn(2, 30, 8, generator=generator)]
        for _ in range(states - 1):
            x.append(x[-1] + 0.5 * torch.randn(2, 30, 8, generator=generator))
        lengths = torch.tensor([30, 8 + number])
        for value in x:
            value[1, 8 + number :] = 0
        found.append(([f"a{number}", f"b{number}"], x, lengths))
    return found


@pytest.mark.parametrize("samples", ["frames", "utterances"])
def test_any_split_writes_the_same_files(samples: str, tmp_path) -> None:
    every = batches()
    whole = seen(every, samples)
    merged = StateSimilarity(samples, 3, (1, 5), most=6)
    for part in (every[3:], every[:1], every[1:3]):
        torch.save(seen(part, samples).state_dict(), tmp_path / "part.pt")
        loaded = StateSimilarity(samples)
        loaded.load_state_dict(torch_load(tmp_path / "part.pt"))
        merged.merge(loaded)
    assert json.dumps(merged.result(), allow_nan=False) == json.dumps(whole.result())
    assert merged.tables() == whole.tables()
    for name, array in whole.arrays().items():
        assert np.array_equal(merged.arrays()[name], array)
    found = whole.result()
    assert found["states"] == 7 and found["reasons"] == {}
    assert found["utterances"] == (12 if samples == "frames" else 6)
    assert set(found["sweep"]) == {"1", "3", "5"}
    assert found["structure"]["linear_cka"]["parts"] >= 1
    assert len(whole.tables()[""]) == 1 + 21
    np.savez(io.BytesIO(), **whole.arrays())


def test_what_has_no_value_is_none_with_a_reason() -> None:
    every = batches(2, states=4)
    for _, states, _ in every:
        states[2].fill_(1.0)
    found = seen(every).result()
    text = json.dumps(found, allow_nan=False)
    assert found["values"]["linear_cka"][2] == [None] * 4 and "state 2 is the same" in text
    assert found["values"]["linear_cka"][0][1] is not None
    assert found["structure"] == {"linear_cka": None, "cosine": None}
    assert "not complete" in found["structure_reasons"]["linear_cka"]
    assert "4 states are too few" in found["structure_reasons"]["cosine"]


def test_options_make_it() -> None:
    made = make(Context(None, "", options={"similarity_samples": "utterances", "neighbours": 4}))
    assert made.samples == "utterances" and made.sums.neighbours == 4
    assert make(Context(None, "")).samples == "frames"
    with pytest.raises(ValueError, match="samples must be one of"):
        make(Context(None, "", options={"similarity_samples": "words"}))
    with pytest.raises(ValueError, match="neighbours must be"):
        make(Context(None, "", options={"neighbours": 0}))
