"""The clock of a model against what its frames really see: the gradient with respect to samples."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import pytest
import torch

from espnet_plugin.analysis.phonemes.frames import FrameClock, clock_of
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

BLOCK = {"output_size": 8, "attention_heads": 2, "num_blocks": 1}
CONFORMER = {
    **BLOCK,
    "linear_units": 8,
    "rel_pos_type": "latest",
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
    "cnn_module_kernel": 3,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "conformer": CONFORMER,
    "reuse_conformer": CONFORMER,
    "transformer": {**BLOCK, "linear_units": 8},
    "branchformer": {**BLOCK, "cgmlp_linear_units": 8, "cgmlp_conv_kernel": 3},
    "e_branchformer": {**BLOCK, "cgmlp_linear_units": 8, "cgmlp_conv_kernel": 3, "linear_units": 8},
}
STFT = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 20, "fs": 16000}
LAYERS = ["conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8", "linear"]


def _model(encoder: str, layer: str | None, frontend: str = "default", **stft: Any) -> Any:
    from espnet_plugin.task import ASRTask

    config = ASRTask.get_default_config()
    conf = {**STFT, **stft} if frontend == "default" else {"win_length": 400, "hop_length": 100}
    config.update(
        token_list=["<blank>", "<unk>", "a", "<sos/eos>"],
        frontend=frontend,
        frontend_conf=conf,
        preencoder="sinc" if frontend == "sliding_window" else None,
        preencoder_conf={"out_channels": 128} if frontend == "sliding_window" else {},
        specaug=None,
        normalize=None,
        encoder=encoder,
        encoder_conf={**ENCODERS[encoder], "input_layer": layer},
        decoder=None,
        model_conf={"ctc_weight": 1.0},
        input_size=None,
        init=None,
    )
    torch.manual_seed(1)
    return ASRTask.build_model(argparse.Namespace(**config)).eval()


def _seen(frame: torch.Tensor, samples: torch.Tensor) -> tuple[int, int]:
    """First and last of the samples that have an influence on a frame (D,)."""
    weighed = (frame * torch.randn_like(frame)).sum()
    (gradient,) = torch.autograd.grad(weighed, samples, retain_graph=True)
    where = gradient[0].nonzero().flatten()
    return int(where[0]), int(where[-1])


def _embedded(model: Any, samples: torch.Tensor) -> torch.Tensor:
    """What the embedding of an ESPnet model gives (T, D), through the model's own forward pass."""
    found = []

    def keep(module: Any, args: Any, out: Any) -> None:
        out = out[0] if isinstance(out, tuple) else out
        found.append(out[0] if isinstance(out, tuple) else out)

    with model.encoder.embed.register_forward_hook(keep):
        model.encode(samples, torch.tensor([samples.shape[1]]))
    return found[0][0]


def _check(clock: FrameClock, frames: torch.Tensor, samples: torch.Tensor, picks: range) -> None:
    for t in picks:
        first, last = _seen(frames[t], samples)
        assert clock.first(t) == first
        assert clock.field == last - first + 1
        assert int(clock.samples(len(frames))[t]) == (first + last + 1) // 2


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_espnet_encoders_by_gradient(encoder: str, layer: str) -> None:
    model = _model(encoder, layer)
    samples = torch.randn(1, 16000, requires_grad=True)
    frames = _embedded(model, samples)
    middle = len(frames) // 2
    _check(clock_of(model), frames, samples, range(middle, middle + 2))


@pytest.mark.parametrize(("encoder", "layer"), [("transformer", "conv1d2"),
                                                ("e_branchformer", "conv1d1"),
                                                ("e_branchformer", "conv1d3")])  # fmt: skip
def test_convolutions_over_time_alone(encoder: str, layer: str) -> None:
    model = _model(encoder, layer)
    samples = torch.randn(1, 16000, requires_grad=True)
    _check(clock_of(model), _embedded(model, samples), samples, range(20, 22))


@pytest.mark.parametrize(
    "stft",
    [
        {"hop_length": 240},
        {"win_length": 512},
        {"win_length": 399},
        {"center": False},
        {"window": "hamming"},
        {"window": None, "win_length": 300},
    ],
    ids=str,
)
def test_windows_by_gradient(stft: dict[str, Any]) -> None:
    model = _model("conformer", "conv2d", **stft)
    samples = torch.randn(1, 16000, requires_grad=True)
    _check(clock_of(model), _embedded(model, samples), samples, range(5, 7))


def test_sinc_convolutions_by_gradient() -> None:
    model = _model("conformer", "conv2d", "sliding_window")
    samples = torch.randn(1, 8000, requires_grad=True)
    _check(clock_of(model), _embedded(model, samples), samples, range(5, 7))


def test_a_hann_window_stands_for_a_multiple_of_its_hop() -> None:
    for layer, shift, frames in (
        ("linear", 160, 0),
        ("conv2d", 640, 3),
        ("conv2d1", 160, 2),
        ("conv2d2", 320, 3),
        ("conv2d6", 960, 5),
        ("conv2d8", 1280, 7),
    ):
        clock = clock_of(_model("conformer", layer))
        assert (clock.shift, clock.centre) == (shift, frames * 160), layer  # fmt: skip


@pytest.mark.parametrize(
    "layers",
    [
        ((8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2),
        ((4, 10, 5), (4, 8, 4), (4, 8, 4), (4, 8, 4), (4, 6, 3)),
        ((4, 7, 7),),
    ],
)
def test_convolutions_of_waveforms_by_gradient(layers: Any) -> None:
    config = Wav2Vec2Config(blocks=1, width=8, heads=2, conv_layers=layers,
                            pos_kernel=4, pos_groups=2)  # fmt: skip
    config = replace(config, feature_norm="layer", normalize_waveform=False)
    stack = Wav2Vec2Stack(config).eval()
    samples = torch.randn(1, 6 * 960 + 3000, requires_grad=True)
    frames = stack.frontend(samples, None)[0][0]
    _check(clock_of(stack), frames, samples, range(1, 4))


def test_wav2vec2_in_numbers() -> None:
    config = Wav2Vec2Config(blocks=1, width=8, heads=2, pos_groups=2)
    clock = clock_of(Wav2Vec2Stack(config))
    assert clock == FrameClock(shift=320, centre=200, field=400)
    assert clock.samples(3).tolist() == [200, 520, 840]


def test_stacks_and_encoders_have_the_clock_of_their_model() -> None:
    from espnet_plugin.stacks.conformer import ConformerStack
    from espnet_plugin.stacks.espnet_parts import Parts

    model = _model("conformer", "conv2d")
    stack = ConformerStack(Parts(model.encoder, model.frontend))
    assert clock_of(stack) == clock_of(model)
    encoder = torch.nn.Module()
    encoder.stack = ConformerStack(Parts(model.encoder))  # takes features
    model.encoder = encoder
    assert clock_of(model) == clock_of(stack)
    model.encoder.stack = stack
    model.frontend = None
    assert clock_of(model) == clock_of(model.encoder) == clock_of(stack)


def test_a_model_whose_frames_are_anywhere_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear: not known"):
        clock_of(torch.nn.Linear(2, 2))
    model = _model("conformer", "conv2d")
    model.frontend = None
    with pytest.raises(ValueError, match="frontend none"):
        clock_of(model)
    model.frontend = _model("conformer", "conv2d").frontend
    model.preencoder = torch.nn.Identity()
    with pytest.raises(ValueError, match="preencoder Identity"):
        clock_of(model)
    with pytest.raises(ValueError, match="at least 1 sample"):
        FrameClock(0, 0)


def test_finer_frames_lie_evenly_around_their_frame() -> None:
    clock = FrameClock(960, 720, 1839)
    assert clock.finer(1).samples(9).tolist() == clock.samples(9).tolist()
    parts = clock.finer(3).samples(9).reshape(3, 3)
    assert parts[:, 1].tolist() == clock.samples(3).tolist()
    assert parts[0].tolist() == [400, 720, 1040]
    assert clock.finer(4).samples(4).tolist() == [360, 600, 840, 1080]  # 720 in the middle
    with pytest.raises(ValueError, match="cannot be cut into 7"):
        clock.finer(7)
