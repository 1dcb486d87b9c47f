"""Small stacks of every kind, with parameters that all do something, and speech for them."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.encoders.maps import dense
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Action
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

HEADS, HEAD, WIDTH, INNER = 4, 4, 16, 20

WAV2VEC2: Dict[str, Dict[str, Any]] = {
    "wav2vec2": {},
    "hubert": dict(norm_first=True, conv_bias=True, feature_norm="layer", normalize_waveform=True),
    "wavlm": dict(num_buckets=8, max_distance=20),
}
ESPNET: Dict[str, Dict[str, Any]] = {
    "conformer": dict(rel_pos_type="latest", macaron_style=True, cnn_module_kernel=5),
    "legacy": dict(rel_pos_type="legacy", macaron_style=True, cnn_module_kernel=5),
    "transformer": {},
    "zero_triu": dict(rel_pos_type="latest", zero_triu=True, use_cnn_module=False),
}
KINDS = [*WAV2VEC2, "conformer", "legacy", "transformer"]


def small_stack(kind: str, blocks: int = 4, seed: int = 0, dtype=torch.float64) -> Stack:
    """In evaluation mode, as after training: no two parameters alike."""
    stack = _wav2vec2(kind, blocks) if kind in WAV2VEC2 else _espnet(kind, blocks)
    torch.manual_seed(seed)
    for name, parameter in stack.named_parameters():
        spread = 1.0 if name in ("relative_bias.weight",) else 0.3
        parameter.data.normal_(0.0, spread)
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.data.add_(1.0)
    for name, buffer in stack.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            buffer.normal_()
    return stack.to(dtype).eval()


def _wav2vec2(family: str, blocks: int) -> Stack:
    options: Dict[str, Any] = dict(
        family=family,
        conv_layers=((8, 10, 5), (8, 8, 4)),
        width=WIDTH,
        blocks=blocks,
        heads=HEADS,
        feed_forward=INNER,
        pos_kernel=6,
        pos_groups=2,
        dropout=0.0,
        input_dropout=0.0,
        attention_dropout=0.0,
        layer_drop=0.0,
    )
    return Wav2Vec2Stack(Wav2Vec2Config(**{**options, **WAV2VEC2[family]}))


def encoder_conf(kind: str, blocks: int) -> Dict[str, Any]:
    """Options of ESPnet's encoder."""
    return dict(
        output_size=WIDTH,
        attention_heads=HEADS,
        linear_units=INNER,
        num_blocks=blocks,
        dropout_rate=0.0,
        positional_dropout_rate=0.0,
        attention_dropout_rate=0.0,
        input_layer="linear",
        **ESPNET[kind],
    )


def _espnet(kind: str, blocks: int) -> Stack:
    configuration = {
        "input_size": 6,
        "frontend": None,
        "frontend_conf": {},
        "normalize": None,
        "normalize_conf": {},
        "preencoder": None,
        "preencoder_conf": {},
        "encoder": "transformer" if kind == "transformer" else "conformer",
        "encoder_conf": encoder_conf(kind, blocks),
        "rate": 16000,
    }
    return ConformerStack.build({"config": configuration})


def speech(stack: Stack, frames: Sequence[int] = (60, 37)) -> Tuple[Tensor, Tensor]:
    """A batch of utterances of so many hidden frames."""
    generator = torch.Generator().manual_seed(1)
    if stack.takes == "waveform" or isinstance(stack, Wav2Vec2Stack):
        lengths = torch.tensor([(frame - 1) * 20 + 45 for frame in frames])
        shape: Tuple[int, ...] = (len(frames), int(lengths.max()))
    else:
        lengths = torch.tensor(frames)
        shape = (len(frames), max(frames), 6)
    inputs = torch.randn(*shape, generator=generator)
    real = torch.arange(shape[1]) < lengths[:, None]
    inputs = inputs * real.view(*real.shape, *[1] * (len(shape) - 2))
    return inputs.to(next(stack.parameters()).dtype), lengths


def plan_for(stack: Stack, *actions: Action) -> BlockPlan:
    return BlockPlan(StackDescription(stack.family, len(stack.blocks)), actions)


def run(stack: Stack, explicit: bool = False) -> List[Tensor]:
    """The hidden states of :func:`speech`; ``explicit``: with maps written out on the way."""
    inputs, lengths = speech(stack)
    looking = attention_maps(stack, lambda *ignored: None) if explicit else nullcontext()
    with torch.no_grad(), looking:
        hidden, frames = stack(inputs, lengths)
    assert frames.tolist() == [60, 37]
    return hidden


def maps_of(stack: Stack, frames: Sequence[int] = (60, 37)) -> Dict[int, Tensor]:
    """The map of each place that has one."""
    maps: Dict[int, Tensor] = {}
    inputs, lengths = speech(stack, frames)
    with torch.no_grad(), attention_maps(stack, lambda p, m, n: maps.__setitem__(p, m.clone())):
        stack(inputs, lengths)
    return maps


def with_maps(stack: Stack, place: int, change, keep: Optional[List[Tensor]] = None) -> Stack:
    """A copy in which ``change(maps)`` takes the place of the maps (B, H, T, T) of a block.

    Run it explicitly; ``keep`` gets the maps.
    """
    changed = copy.deepcopy(stack)
    attention = changed.blocks[place].attention
    original = attention.maps

    def maps(*args: Any) -> Tensor:
        new = change(dense(original(*args)))
        if keep is not None:
            keep.append(new)
        return new

    attention.maps = maps
    return changed


def assert_close(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
