"""Losses over padded batches, against loops over valid frames in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from espnet_plugin.distill import losses

LENGTHS = torch.tensor([7, 1, 4])


def padded(seed: int) -> Tensor:
    """(3, 7, 5) with values in the padding that must not count."""
    torch.manual_seed(seed)
    x = torch.randn(3, 7, 5)
    x[1, 1:], x[2, 4:] = 1e4, -1e4
    return x


def frames(x: Tensor) -> list[list[float]]:
    return [x[b, t].double().tolist() for b in range(3) for t in range(int(LENGTHS[b]))]


def test_mean_square_is_over_valid_frames():
    x, y = padded(0), padded(1)
    pairs = zip(sum(frames(x), []), sum(frames(y), []), strict=True)
    squares = [(p - q) ** 2 for p, q in pairs]
    assert float(losses.mean_square(x, y, LENGTHS)) == pytest.approx(sum(squares) / len(squares))


def test_cosine_distance_is_over_valid_frames():
    x, y = padded(0), padded(1)
    cosines = [
        sum(p * q for p, q in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v))
        for u, v in zip(frames(x), frames(y), strict=True)
    ]
    expected = 1 - sum(cosines) / len(cosines)
    assert float(losses.cosine_distance(x, y, LENGTHS)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.cosine_distance(x, 3 * x, LENGTHS)) == pytest.approx(0, abs=1e-6)


def test_divergence_is_of_the_student_from_the_teacher():
    student, teacher = padded(0).log_softmax(-1), padded(1).log_softmax(-1)
    terms = [
        sum(math.exp(q) * (q - p) for p, q in zip(u, v, strict=True))
        for u, v in zip(frames(student), frames(teacher), strict=True)
    ]
    found = float(losses.divergence(student, teacher, LENGTHS))
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert float(losses.divergence(teacher, teacher, LENGTHS)) == 0


def test_ctc_is_the_sum_over_all_alignments():
    """Three frames, one token and the blank: every path is written out."""
    log_probs = torch.randn(1, 5, 2, dtype=torch.float64).log_softmax(-1)
    paths = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1)]
    rows = log_probs[0].tolist()
    total = sum(math.exp(sum(rows[t][k] for t, k in enumerate(path))) for path in paths)
    found = float(losses.ctc_loss(log_probs, torch.tensor([3]), [[1]]))
    assert found == pytest.approx(-math.log(total) / 3)


def test_a_transcript_that_does_not_fit_counts_as_nothing():
    log_probs = torch.randn(2, 4, 3).log_softmax(-1).requires_grad_()
    loss = losses.ctc_loss(log_probs, torch.tensor([4, 1]), [[1], [1, 2]])
    alone = losses.ctc_loss(log_probs[:1], torch.tensor([4]), [[1]])
    assert float(loss) == pytest.approx(float(alone) * 4 / 5)
    loss.backward()
    assert bool(torch.isfinite(log_probs.grad).all())


@pytest.mark.parametrize("loss", [losses.mean_square, losses.cosine_distance])
def test_padding_has_no_gradient(loss):
    x, y = padded(0).requires_grad_(), padded(1)
    loss(x, y, LENGTHS).backward()
    assert not x.grad[1, 1:].any() and not x.grad[2, 4:].any() and x.grad[0].any()
