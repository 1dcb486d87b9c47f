"""Masked spans: how many, where, from which seed, and what they become."""

from __future__ import annotations

import pytest
import torch

from espnet_plugin.encoders.masking import Masking, spans


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the runs of true."""
    text = "".join("x" if value else " " for value in row.tolist())
    return [len(run) for run in text.split()]


def test_as_many_frames_are_masked_as_overlapping_spans_cover():
    torch.manual_seed(1)
    mask = spans([2000] * 40, 2000, 0.65, 10)
    assert mask.float().mean().item() == pytest.approx(1 - 0.935**10, abs=0.01)


def test_the_mean_number_of_spans_is_not_rounded_down():
    torch.manual_seed(2)
    mask = spans([30] * 4000, 30, 0.1, 10)  # 0.3 spans of 10 in 30
    assert mask.sum().item() / 4000 == pytest.approx(3.0, abs=0.25)


def test_spans_lie_within_the_utterance_and_have_their_length():
    torch.manual_seed(3)
    mask = spans([50, 23, 100], 100, 0.3, 7, least=2)
    for row, size in zip(mask, [50, 23, 100], strict=True):
        assert not row[size:].any()
        assert runs(row) and min(runs(row)) >= 7


def test_rows_that_are_too_short_for_a_span_have_none_and_short_ones_few():
    torch.manual_seed(4)
    mask = spans([9, 10, 19], 30, 1.0, 10, least=2)
    assert mask.sum(1).tolist() == [0, 10, 10]


def test_the_seed_of_torch_decides():
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return spans([200, 150], 200, 0.5, 10)

    assert torch.equal(draw(5), draw(5)) and not torch.equal(draw(5), draw(6))


def test_masked_frames_become_the_embedding_and_masked_channels_zero():
    torch.manual_seed(6)
    features, embedding = torch.randn(2, 60, 16) + 5, torch.randn(16)
    lengths = torch.tensor([60, 40])
    masked = Masking(0.5, 10)(features, lengths, embedding)
    changed = (masked != features).any(-1)
    assert changed.any(1).all() and not changed[1, 40:].any()
    assert torch.equal(masked[changed], embedding.expand(int(changed.sum()), 16))

    masked = Masking(channel_mask_prob=0.5, channel_mask_length=4)(features, lengths, embedding)
    zero = (masked == 0).all(1)
    assert zero.any() and not zero.all()
    assert torch.equal(masked.transpose(1, 2)[~zero], features.transpose(1, 2)[~zero])


def test_the_embedding_learns_from_the_frames_that_became_it():
    embedding = torch.zeros(4, requires_grad=True)
    torch.manual_seed(7)
    masked = Masking(0.5, 5)(torch.ones(1, 40, 4), torch.tensor([40]), embedding)
    masked.sum().backward()
    assert embedding.grad.tolist() == [(masked == 0).all(-1).sum().item()] * 4


def test_nothing_to_mask_is_false():
    assert not Masking() and Masking(0.1) and Masking(channel_mask_prob=0.1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("mask_prob", 1.5), ("channel_mask_prob", -0.1), ("mask_length", 0)],
)
def test_options_that_make_no_sense_are_named(option, value):
    with pytest.raises(ValueError, match=f"^{option} must be"):
        Masking(**{option: value})
