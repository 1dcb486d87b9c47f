"""What ESPnet encoders that are stacks have in common."""

from __future__ import annotations

import inspect
from typing import Any, Dict, List, Optional, Tuple

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn

from espnet_plugin.compat import TooShortUttError
from espnet_plugin.encoders.masking import Masking
from espnet_plugin.encoders.stack_conf import stack_from_values, stack_values
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.espnet_parts import configuration_of
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, zero_padding
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

RAW = 1
"""``input_size`` of an encoder that takes waveforms, with ``frontend: null``."""


class StackEncoder(AbsEncoder):
    """A stack as an ESPnet encoder.

    Args:
        input_size: 1 for waveforms, as in ESPnet's encoders that take them; else that of features.
        stack: edited already.
        pretrained: whether its parameters come from a checkpoint.
        freeze_feature_extractor: never train what makes frames: the convolutions of a wav2vec
            2.0-type stack, the subsampling of a Conformer.
        freeze_finetune_updates: train only what is after the stack in the first so many updates.
        mask_prob, mask_length, channel_mask_prob, channel_mask_length: see :class:`Masking`.
        layer_drop: probability that training skips a block; None: what the stack came with.
        weighted_sum: the output is the mean of all blocks' outputs with weights that are trained,
            and not that of the last block.

    Raises:
        ValueError: an option that makes no sense for the stack; one line that names it.

    Attributes:
        stack: the stack.
        training_passes: (1,) int64 buffer, the forward passes of training so far.
        passes_per_update: ESPnet's ``accum_grad``; our task sets it.
    """

    training_passes: Tensor

    def __init__(
        self,
        input_size: int,
        stack: Stack,
        pretrained: bool,
        *,
        freeze_feature_extractor: bool = False,
        freeze_finetune_updates: int = 0,
        mask_prob: float = 0.0,
        mask_length: int = 10,
        channel_mask_prob: float = 0.0,
        channel_mask_length: int = 64,
        layer_drop: Optional[float] = None,
        weighted_sum: bool = False,
    ) -> None:
        super().__init__()
        _check_input(input_size, stack)
        self.stack, self.pretrained = stack, pretrained
        self.masking = Masking(mask_prob, mask_length, channel_mask_prob, channel_mask_length)
        if self.masking and not isinstance(stack, Wav2Vec2Stack):
            raise ValueError(f"mask_prob: a {stack.family} stack has none; use ESPnet's specaug")
        if channel_mask_prob > 0 and channel_mask_length > stack.width:
            raise ValueError(f"channel_mask_length: the stack has {stack.width} channels")
        if freeze_feature_extractor:
            _extractor(stack).requires_grad_(False)
        if layer_drop is not None:
            _set_layer_drop(stack, layer_drop)
        self.weights: Optional[nn.Parameter] = None
        if weighted_sum:
            self.weights = nn.Parameter(torch.zeros(len(stack.blocks)))
        self.freeze_finetune_updates = freeze_finetune_updates
        self.passes_per_update = 1
        self.register_buffer("training_passes", torch.zeros(1, dtype=torch.int64))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """ESPnet lists an encoder's options by the signature of its constructor."""
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.__init__)
        mine = inspect.signature(StackEncoder.__init__).parameters.values()
        names = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [p for p in mine if p.kind is p.KEYWORD_ONLY]
        signature = own.replace(parameters=[*names, *options])
        cls.__init__.__signature__ = signature  # type: ignore[attr-defined]

    def output_size(self) -> int:
        """D of the output."""
        return self.stack.width

    def stack_conf(self) -> Dict[str, Any]:
        """The value of the option ``stack`` with which the encoder is built without a checkpoint.

        Raises:
            ValueError: the stack cannot be described.
        """
        return stack_values(self.stack)

    def whole_stack(self, experiment: Experiment) -> Stack:
        """The stack, with what the experiment's model has before its encoder where that matters.

        Args:
            experiment: whose model has this encoder.
        """
        if self.stack.takes == "waveform":
            return self.stack
        values, model = self.stack_conf(), experiment.model
        encoder = {key: values["config"][key] for key in ("encoder", "encoder_conf")}
        values["config"] = {**configuration_of(experiment.args), **encoder}
        tensors = dict(self.stack.state_dict())
        for part in ("frontend", "normalize", "preencoder"):
            module = getattr(model, part)
            found = {} if module is None else module.state_dict()
            tensors.update({f"{part}.{name}": tensor for name, tensor in found.items()})
        whole = stack_from_values(values).train(model.training)
        whole.load_state_dict(tensors)
        return whole

    @property
    def frozen(self) -> bool:
        """Whether the next pass of training still leaves the stack as it is."""
        passes = self.freeze_finetune_updates * self.passes_per_update
        return passes > 0 and int(self.training_passes) < passes

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor, None]:
        """Encode.

        Args:
            xs_pad: (B, N) waveforms or (B, L, input_size) features.
            ilens: (B,), samples or frames.
            prev_states: not used.

        Returns:
            The output (B, T, D), zero on padded frames; valid frames (B,), 0 of an utterance that
            is too short for one frame; None.

        Raises:
            TooShortUttError: all utterances are too short.
        """
        learning = self.training and torch.is_grad_enabled()
        frozen = learning and self.frozen
        if learning:
            self.training_passes += 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            state, outputs = self._run(*self._long_enough(xs_pad, ilens))
        x = self._weighted(outputs) if self.weights is not None else outputs[-1]
        lengths = state.lengths.masked_fill(ilens.to(x.device) < self._shortest(), 0)
        return zero_padding(x, state.mask), lengths, None

    def _run(self, inputs: Tensor, lengths: Tensor) -> Tuple[State, List[Tensor]]:
        """The last state, and what leaves the blocks (the last one alone where that is enough)."""
        stack = self.stack
        if self.training and self.masking and isinstance(stack, Wav2Vec2Stack):
            features, lengths = stack.frontend(inputs, lengths)
            masked = self.masking(features, lengths, stack.frontend.mask_embedding)
            state = stack.enter(masked, lengths)
        else:
            state = stack.embed(inputs, lengths)
        outputs: List[Tensor] = []
        for place in range(len(stack.blocks)):
            state = stack.step(place, state)
            if self.weights is not None:
                outputs.append(state.x)
        return state, [*outputs[:-1], stack.finish(state.x)]

    def _weighted(self, outputs: List[Tensor]) -> Tensor:
        assert self.weights is not None
        weights = self.weights.softmax(0)
        return sum((weights[i] * x for i, x in enumerate(outputs)), torch.zeros_like(outputs[0]))

    def _long_enough(self, inputs: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """Short utterances get zeros, for the others' sake."""
        shortest, longest = self._shortest(), int(lengths.max())
        if longest < shortest:
            said = f"{longest} samples are too few; the encoder needs {shortest}"
            raise TooShortUttError(said, longest, shortest)
        return inputs[:, :longest], lengths.to(inputs.device).clamp(min=shortest)

    def _shortest(self) -> int:
        """Samples, or frames of features, that the stack takes at least."""
        if isinstance(self.stack, Wav2Vec2Stack):
            return self.stack.frontend.shortest
        stft: Any = getattr(getattr(self.stack, "frontend", None), "stft", None)
        return stft.n_fft // 2 + 1 if getattr(stft, "center", False) else 1

    def reload_pretrained_parameters(self) -> None:
        """ESPnet calls this where its option ``init`` has overwritten all parameters.

        Raises:
            ValueError: they came from a checkpoint.
        """
        if self.pretrained:
            raise ValueError("init: leave it out; it overwrites the parameters of the checkpoint")


def _check_input(input_size: int, stack: Stack) -> None:
    raw = stack.takes == "waveform"
    if raw and input_size != RAW:
        raise ValueError(
            f"input_size {input_size}: the stack takes waveforms; set frontend: null, normalize: "
            "null, specaug: null and input_size: 1"
        )
    if not raw and input_size == RAW:
        raise ValueError("input_size 1: the stack takes features; set ESPnet's frontend")


def _extractor(stack: Stack) -> nn.Module:
    if isinstance(stack, Wav2Vec2Stack):
        return stack.frontend.convolutions
    assert isinstance(stack, ConformerStack)
    return stack.embedding


def _set_layer_drop(stack: Stack, probability: float) -> None:
    blocks: List[Any] = [block for block in stack.blocks if hasattr(block, "layer_drop")]
    if not 0 <= probability < 1:
        raise ValueError(f"layer_drop must be from 0 to less than 1, not {probability}")
    if not blocks:
        raise ValueError("layer_drop: only blocks of wav2vec 2.0-type stacks have it")
    for block in blocks:
        block.layer_drop = probability
