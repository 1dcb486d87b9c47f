"""The model under analysis: any stack, or the encoder of an ESPnet experiment."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attentions_of, stack_in
from espnet_plugin.stacks.stack import Stack, follows

if TYPE_CHECKING:
    from espnet_plugin.analysis.phonemes.frames import FrameClock
    from espnet_plugin.stacks.experiment import Experiment


class Subject:
    """A model as the measures see it: blocks with heads, and what runs them.

    Args:
        path: where it came from.
        encoder: a stack; or an encoder of ESPnet's kind, of which ``experiment`` is the rest.
        experiment: where the encoder is that of an ASR model.

    Attributes:
        groups: lists of blocks that use one map, the block it comes from first. A block without
            a map, such as a mimic, is in no group. Blocks of a stack are counted by their place
            among those that are left.
        heads: of each block; 0 of one without a map.

    Raises:
        StackError: an encoder whose attention cannot be read.
    """

    def __init__(
        self, path: PathLike, encoder: nn.Module, experiment: Optional[Experiment] = None
    ) -> None:
        self.path = Path(path)
        self.encoder = encoder
        self.experiment = experiment
        self.stack: Optional[Stack] = encoder if isinstance(encoder, Stack) else None
        """The encoder, where it is a stack."""
        try:
            self.groups, self.heads = _groups_and_heads(encoder)
        except TypeError as error:
            raise StackError(f"{path}: {error}") from error

    @property
    def blocks(self) -> int:
        """How many there are (left)."""
        return len(self.heads)

    @property
    def family(self) -> str:
        """As in block plans, or the name of ESPnet's encoder."""
        if self.stack is not None:
            return self.stack.family
        assert self.experiment is not None
        return str(self.experiment.args.encoder)

    @property
    def width(self) -> int:
        """D, of the hidden states."""
        return self.stack.width if self.stack is not None else self.encoder.output_size()  # type: ignore[operator]

    @property
    def rate(self) -> Optional[int]:
        """Samples per second that the model takes, where that is known."""
        if self.experiment is not None:
            from espnet_plugin.decode.data import model_rate

            return model_rate(self.experiment.args)
        from espnet_plugin.stacks.wav2vec2.stack import RATE, Wav2Vec2Stack

        return RATE if isinstance(self.stack, Wav2Vec2Stack) else None

    @cached_property
    def clock(self) -> FrameClock:
        """Which sample each hidden frame stands for."""
        from espnet_plugin.analysis.phonemes.frames import clock_of

        return clock_of(self.encoder if self.experiment is None else self.experiment.model)

    @property
    def leaders(self) -> List[int]:
        """The blocks with a map of their own."""
        return [group[0] for group in self.groups]

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def run(self, speech: Tensor, lengths: Tensor) -> Tensor:
        """Encode; the hooks of :mod:`espnet_plugin.stacks.hooks` on ``encoder`` see everything.

        Args:
            speech: (B, N) waveforms, zero after each end.
            lengths: (B,), samples.

        Returns:
            Valid hidden frames (B,), int64, CPU; 0 of an utterance that is too short.

        Raises:
            ValueError: too short for one frame.
        """
        speech, lengths = speech.to(self.device), lengths.to(self.device)
        if self.stack is not None:
            return self.stack.output(speech, lengths)[1].cpu()
        assert self.experiment is not None
        model = self.experiment.model
        features, frames = model._extract_feats(speech, lengths)
        for part in (model.normalize, model.preencoder):
            if part is not None:
                features, frames = part(features, frames)
        conditioned = getattr(self.encoder, "interctc_use_conditioning", False)
        more = {"ctc": model.ctc} if conditioned else {}
        return self.encoder(features, frames, **more)[1].to("cpu", torch.int64)

    def describe(self) -> Dict[str, Any]:
        """What the files of an analysis say about the model."""
        whole = self.experiment.model if self.experiment is not None else self.encoder
        checkpoint = None if self.experiment is None else self.experiment.checkpoint.resolve().name
        return {
            "directory": str(self.path),
            "checkpoint": checkpoint,
            "encoder": self.family if self.experiment is None else self.experiment.args.encoder,
            "family": self.family,
            "blocks": self.blocks,
            "heads": self.heads,
            "groups": self.groups,
            "width": self.width,
            "rate": self.rate,
            "parameters": _count(whole),
            "encoder_parameters": _count(self.encoder),
            "sha256": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Of the kind of encoder and all its parameters and buffers.

        As float32: ESPnet's global_mvn keeps float64 until its first forward pass.
        """
        digest = hashlib.sha256(type(self.encoder).__name__.encode())
        plans = self.stack.plans if self.stack is not None else ()
        digest.update("".join(plan.to_yaml() for plan in plans).encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            values = tensor.detach().cpu()
            if values.is_floating_point():
                values = values.float()
            digest.update(f"{name} {tuple(values.shape)}".encode())
            digest.update(values.contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def load_subject(path: PathLike, checkpoint: Optional[str] = None, device: str = "cpu") -> Subject:
    """Load a model for analysis.

    Args:
        path: whatever :func:`espnet_plugin.stacks.load.load_stack` reads, or the directory of an
            ESPnet experiment with any encoder whose attention can be read: a Branchformer, too.
        checkpoint: file in the directory of an experiment; None: the average or the best.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        StackError, ExperimentError: one line that names the file, what is wrong with it and what
            to do.
    """
    from espnet_plugin.stacks.asr import stack_of
    from espnet_plugin.stacks.experiment import load_experiment
    from espnet_plugin.stacks.load import load_stack

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: no GPU that torch can use here; take cpu")
    path = Path(path)
    if not (path / "config.yaml").is_file() or (path / "config.json").is_file():
        if checkpoint is not None:
            raise StackError(f"{path}: no ESPnet experiment, so it has no checkpoint to choose")
        return Subject(path, _of_recordings(path, load_stack(path, device)))
    experiment = load_experiment(path, checkpoint, device)
    encoder = experiment.model.encoder
    try:
        stack = stack_of(experiment).to(device).eval()
    except StackError:
        # more than a plain stack, or of another kind: its blocks are looked at as they are
        if stack_in(encoder) is not None or experiment.model.frontend is None:
            raise
        return Subject(path, encoder, experiment)
    return Subject(path, _of_recordings(path, stack), experiment)


def _of_recordings(path: Path, stack: Stack) -> Stack:
    if stack.takes != "waveform":
        raise StackError(f"{path}: its model takes {stack.takes}, not recordings")
    return stack


def _groups_and_heads(encoder: nn.Module) -> Tuple[List[List[int]], List[int]]:
    if isinstance(encoder, Stack):
        attentions: List[Any] = [getattr(block, "attention", None) for block in encoder.blocks]
        heads = [0 if attention is None else int(attention.heads) for attention in attentions]
        following = [follows(block) for block in encoder.blocks]
    else:
        attentions = attentions_of(encoder)
        heads = [0 if attention is None else int(attention.h) for attention in attentions]
        following = [bool(getattr(attention, "follows", False)) for attention in attentions]
    groups: List[List[int]] = []
    mapped = False
    for block, count in enumerate(heads):
        if following[block]:
            if mapped:
                groups[-1].append(block)
            continue
        mapped = count > 0
        if mapped:
            groups.append([block])
    return groups, heads


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
