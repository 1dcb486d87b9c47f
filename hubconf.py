"""Encoders and trained models through ``torch.hub``.

>>> import torch
>>> torch.hub.help("OWNER/espnet_plugin", "load_stack")
>>> stack = torch.hub.load("DIRECTORY", "load_stack", "wav2vec_small.pt", source="local")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import espnet_plugin  # noqa: F401 (torch.hub has the directory on sys.path only for this import)

if TYPE_CHECKING:  # torch.hub.list names every callable that it finds here
    from typing import Any, Optional, Sequence, Union

dependencies = ["espnet2", "numpy", "safetensors", "torch", "yaml"]


def load_stack(checkpoint: str, plan: Optional[str] = None, device: str = "cpu") -> Any:
    """A speech encoder as a stack of blocks.

    Args:
        checkpoint: a fairseq checkpoint of wav2vec 2.0 or HuBERT, a torchaudio model, a stack that
            was edited and saved, a Hugging Face directory (wav2vec 2.0, HuBERT, WavLM), or the
            directory of an ESPnet experiment. Nothing in a file can run.
        plan: path of a block plan to carry out, see docs/block_plan.md.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        An ``espnet_plugin.stacks.stack.Stack`` in evaluation mode: ``stack(waveforms, lengths)``
        gives all hidden states, (B, T, D) each, and the valid frames (B,).

    Example:
        >>> stack = torch.hub.load("DIRECTORY", "load_stack", "wav2vec_small.pt", source="local")
        >>> hidden, frames = stack(torch.randn(1, 16000))
    """
    from espnet_plugin.stacks.load import load_stack as load
    from espnet_plugin.surgery.apply import apply_plan
    from espnet_plugin.surgery.plan import BlockPlan

    if plan is None:
        return load(checkpoint, device)
    return apply_plan(load(checkpoint), BlockPlan.load(plan)).to(device)


def filtered_wav2vec2(checkpoint: str, **options: Any) -> Any:
    """The ESPnet encoder filtered_wav2vec2: wav2vec 2.0, HuBERT or WavLM without abnormal blocks.

    Args:
        checkpoint: as for load_stack.
        options: plan="plan.yaml"; or abnormal_blocks=[9, 10] with strategy="drop", "local" (and
            window=16) or "share"; and the training options of docs/encoders.md, such as
            freeze_feature_extractor=True or mask_prob=0.65.

    Returns:
        An encoder in training mode: ``encoder(waveforms, lengths)`` with (B, N) samples of 16 kHz
        gives (B, T, D), the valid frames (B,), and None.

    Example:
        >>> encoder = torch.hub.load("DIRECTORY", "filtered_wav2vec2", "wav2vec_small.pt",
        ...                          abnormal_blocks=[9, 10], source="local").eval()
    """
    from espnet_plugin.encoders.filtered_wav2vec2 import FilteredWav2Vec2Encoder

    return FilteredWav2Vec2Encoder(1, checkpoint, **options)


def pruned_stack(checkpoint: str, input_size: int = 1, **options: Any) -> Any:
    """The ESPnet encoder pruned_stack: any stack with fewer blocks.

    Args:
        checkpoint: as for load_stack.
        input_size: 1: the encoder takes waveforms; else it takes features of so many dimensions,
            and is the Conformer of an ESPnet experiment without its front end.
        options: plan="plan.yaml", with any actions, or keep_blocks=[0, 1, 5]; and the training
            options of docs/encoders.md.

    Returns:
        An encoder in training mode: ``encoder(inputs, lengths)`` gives (B, T, D), the valid frames
        (B,), and None.

    Example:
        >>> encoder = torch.hub.load("DIRECTORY", "pruned_stack", "exp/asr_conformer",
        ...                          keep_blocks=[0, 1, 2, 5], source="local").eval()
    """
    from espnet_plugin.encoders.pruned_stack import PrunedStackEncoder

    return PrunedStackEncoder(input_size, checkpoint, **options)


def mimic_stack(
    checkpoint: str,
    hidden: Optional[int] = None,
    layers: int = 2,
    kind: str = "linear",
    **options: Any,
) -> Any:
    """The ESPnet encoder mimic_stack: a small network in the place of all blocks of a teacher.

    Args:
        checkpoint: the teacher, as for load_stack; or a stack with a mimic that was taught (see
            bin/distill), and then no hidden.
        hidden: width inside the mimic's layers. The mimic begins with random parameters.
        layers: how many.
        kind: "linear" or "transformer".
        options: the training options of docs/encoders.md.

    Returns:
        An encoder in training mode: ``encoder(waveforms, lengths)`` gives (B, T, D), the valid
        frames (B,), and None.

    Example:
        >>> encoder = torch.hub.load("DIRECTORY", "mimic_stack", "wav2vec_small.pt", hidden=64,
        ...                          source="local").eval()
    """
    from espnet_plugin.encoders.mimic_stack import MimicStackEncoder

    return MimicStackEncoder(1, checkpoint, hidden, layers, kind, **options)


def reuse_conformer(
    input_size: int, reuse_groups: Union[int, str, Sequence[Sequence[int]]] = 1, **options: Any
) -> Any:
    """The ESPnet encoder reuse_conformer: blocks of a group share one attention map.

    Args:
        input_size: dimensions of the features.
        reuse_groups: blocks per group, or the groups such as [[0, 1], [2, 3, 4]], or the path of a
            block plan; 1 is ESPnet's Conformer.
        options: those of ESPnet's ConformerEncoder, such as output_size=256, attention_heads=4,
            num_blocks=12.

    Returns:
        An encoder in training mode with random parameters: ``encoder(features, lengths)`` gives
        (B, T, D), the valid frames (B,), and None. ``load_state_dict`` takes the encoder of a plain
        Conformer.

    Example:
        >>> encoder = torch.hub.load("DIRECTORY", "reuse_conformer", 80, 4, num_blocks=12,
        ...                          source="local")
    """
    from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder

    groups = reuse_groups if isinstance(reuse_groups, (int, str)) else [*map(list, reuse_groups)]
    return ReuseConformerEncoder(input_size, reuse_groups=groups, **options)


def asr_experiment(directory: str, checkpoint: Optional[str] = None, device: str = "cpu") -> Any:
    """A trained ESPnet ASR model, with one of our encoders or of ESPnet's.

    Args:
        directory: with config.yaml and checkpoints, as training leaves it.
        checkpoint: a file name in it; None: the averaged model, else the best one.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        An ``espnet_plugin.stacks.experiment.Experiment``: ``.model`` (an ESPnetASRModel in
        evaluation mode), ``.args`` (its configuration) and ``.token_list``.

    Example:
        >>> asr = torch.hub.load("DIRECTORY", "asr_experiment", "exp/asr_reuse", source="local")
        >>> encoded, frames = asr.model.encode(torch.randn(1, 16000), torch.tensor([16000]))
        >>> log_probs = asr.model.ctc.log_softmax(encoded)
    """
    from espnet_plugin.stacks.experiment import load_experiment

    return load_experiment(directory, checkpoint, device)
