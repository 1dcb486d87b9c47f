"""The waveform's way to the blocks: normalisation, fast convolutions, valid frames, positions."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wav2vec2_originals import BASE, LARGE, SIZES, config_of, normalised, randomise, waveforms

from espnet_plugin.stacks.wav2vec2 import chunked_features
from espnet_plugin.stacks.wav2vec2.features import Frontend, normalize
from espnet_plugin.stacks.wav2vec2.positions import PositionalConvolution

LAYOUTS = [BASE, LARGE, {**BASE, "conv_bias": True}, {**LARGE, "conv_bias": False}]


def frontend(layout, **changes):
    return randomise(Frontend(config_of("wav2vec2", layout, **changes)))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=20, deadline=None)
@given(
    samples=st.integers(30, 3000),
    chunk=st.sampled_from([1, 3, 64]),
    windows=st.sampled_from([5, 2**16]),
    offset=st.sampled_from([0.0, 30.0]),
)
def test_fast_convolutions(layout, samples, chunk, windows, offset):
    front = frontend(layout)
    speech, _ = waveforms([samples, max(30, samples // 2)])
    speech = speech + offset
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(chunked_features, "CHUNK", chunk)
        patch.setattr(chunked_features, "WINDOWS", windows)
        fast = front.features(speech)
    plain = copy.deepcopy(front).double().features(speech.double())
    assert fast.shape == plain.shape
    assert torch.allclose(fast.double(), plain, rtol=1e-3, atol=1e-3 if offset else 1e-4)


def test_silence_is_no_division_by_zero():
    for layout in LAYOUTS:
        front = frontend(layout)
        with torch.no_grad():
            fast = front.features(torch.zeros(1, 400))
        plain = front.features(torch.zeros(1, 400))
        assert torch.isfinite(fast).all() and torch.allclose(fast, plain, atol=1e-5)


def test_a_hook_on_a_convolution_is_called():
    front = frontend(BASE)
    speech, _ = waveforms([500])
    with torch.no_grad():
        wanted, seen = front.features(speech), []
        front.convolutions[1].conv.register_forward_hook(lambda *args: seen.append(args))
        assert torch.allclose(front.features(speech), wanted, atol=1e-5)
    assert len(seen) == 1


@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_normalised_waveforms(lengths):
    speech, lengths = waveforms(lengths)
    got = normalize(speech + 1.0, lengths, 1e-5)  # what stands in the padding does not count
    assert torch.allclose(got, normalised(speech + 1.0, lengths), atol=1e-4)
    other = normalize(speech[:1, : lengths[0]], lengths[:1], 0.5)
    row = speech[0, : lengths[0]].double()
    wanted = (row - row.mean()) / torch.sqrt(row.var(unbiased=False) + 0.5)
    assert torch.allclose(other[0].double(), wanted, atol=1e-5)


def test_valid_frames_see_no_padding():
    """By convolutions: a frame is valid if all its samples are real."""
    front = frontend(LARGE)
    for samples in range(30, 120):
        frames = int(front.frames(torch.tensor([samples]), 400, 19))
        with torch.no_grad():
            assert frames == front.features(torch.zeros(1, samples)).size(1)


def test_cells_of_a_padded_batch():
    """As fairseq's forward_padding_mask, written out."""
    front = frontend(BASE, padding="cells")
    samples = 400
    frames = front.features(torch.zeros(1, samples)).size(1)
    lengths = torch.arange(1, samples + 1)
    mask = torch.arange(samples) >= lengths[:, None]
    mask = mask[:, : samples - samples % frames].view(len(lengths), frames, -1).all(-1)
    assert torch.equal(front.frames(lengths, samples, frames), (~mask).sum(1))


@pytest.mark.parametrize("kernel", [1, 4, 5])
def test_positions(kernel):
    convolution = randomise(PositionalConvolution(6, kernel, 3))
    x = torch.randn(2, 7, 6)
    got = convolution(x).detach()
    g, v = convolution.weight_g.detach().double(), convolution.weight_v.detach().double()
    weight = torch.stack([g[0, 0, k] * v[..., k] / v[..., k].norm() for k in range(kernel)], -1)
    for channel in range(6):
        group = slice(channel // 2 * 2, channel // 2 * 2 + 2)
        for frame in range(7):
            total = convolution.bias[channel].double().detach()
            for tap in range(kernel):
                other = frame + tap - kernel // 2
                if 0 <= other < 7:
                    total = total + x[:, other, group].double() @ weight[channel, :, tap]
            wanted = torch.nn.functional.gelu(total)
            assert torch.allclose(got[:, frame, channel].double(), wanted, atol=1e-5)


def test_wrong_input():
    front = Frontend(config_of("wav2vec2", SIZES))
    with pytest.raises(ValueError, match=r"expected waveforms \(B, N\), not \[1, 2, 300\]"):
        front(torch.zeros(1, 2, 300), None)
    with pytest.raises(ValueError, match="a length of 301 in a batch of 300 samples"):
        front(torch.zeros(2, 300), torch.tensor([300, 301]))
