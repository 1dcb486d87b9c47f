"""The stack inside a trained ASR model: out of an experiment, its CTC posteriors, and back."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
import yaml
from torch import Tensor

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import torch_load
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.untrained import CHECKPOINT


def stack_of(experiment: Experiment) -> Stack:
    """The encoder of an ASR model as a stack, with what the model has before it.

    Args:
        experiment: its encoder is a Conformer or Transformer of ESPnet's, or one of ours.

    Returns:
        The stack; its parameters are those of the model.

    Raises:
        StackError: an encoder that is no plain stack of blocks.
    """
    from espnet_plugin.encoders.stack_encoder import StackEncoder
    from espnet_plugin.stacks.conformer import ConformerStack

    encoder = experiment.model.encoder
    try:
        if isinstance(encoder, StackEncoder):
            return encoder.whole_stack(experiment)
        return ConformerStack.from_experiment(experiment)
    except (ValueError, TypeError) as error:
        raise StackError(f"{experiment.directory}: {error}") from error


def log_probs(
    experiment: Experiment, stack: Stack, inputs: Tensor, lengths: Tensor
) -> Tuple[Tensor, Tensor]:
    """The CTC posteriors of a stack, edited or not, with the CTC layer of an experiment.

    Args:
        experiment: whose :func:`stack_of` the stack is, or was before its edits.
        inputs, lengths: as for :meth:`Stack.embed`.

    Returns:
        (B, T, V), natural logarithms; valid frames (B,).

    Raises:
        StackError: the CTC layer sees something else than the output of the last block.
    """
    check_output(experiment)
    x, frames = stack.output(inputs, lengths)
    return experiment.model.ctc.log_softmax(x), frames


def write_experiment(
    experiment: Experiment, stack: Stack, directory: PathLike, overwrite: bool = True
) -> None:
    """Put a stack, edited or not, in the place of the encoder of ``experiment``.

    Args:
        experiment: gives the CTC layer, the decoder if there is one, and the tokens.
        stack: takes waveforms; what the model had before its encoder is in the stack.
        directory: config.yaml and valid.loss.ave.pth, which ESPnet and our commands decode, pack
            and train further.
        overwrite: whether another model that was written to ``directory`` before may go.

    Raises:
        StackError: a stack that takes features; a directory with a training in it, such as that of
            ``experiment``, or with another model, unless it may go; or as :func:`log_probs`.
    """
    from espnet_plugin.encoders.stack_conf import stack_values
    from espnet_plugin.task import ASRTask

    check_output(experiment)
    if stack.takes != "waveform":
        raise StackError(
            f"{experiment.directory}: its model takes {stack.takes}; only models that take "
            "waveforms can be written with an edited stack"
        )
    folder = Path(directory)
    others = sorted(path.name for path in folder.glob("*.pth") if path.name != CHECKPOINT)
    if others or folder.resolve() == experiment.directory.resolve():
        raise StackError(f"{folder}: a model was trained here; name another directory")
    args = argparse.Namespace(**copy.deepcopy(vars(experiment.args)))
    args.frontend = args.specaug = args.normalize = args.preencoder = args.init = None
    args.init_param = []
    args.input_size = 1
    args.encoder, args.encoder_conf = "pruned_stack", {"stack": stack_values(stack)}
    args.model_conf = {**(args.model_conf or {}), "extract_feats_in_collect_stats": False}
    args.token_list = list(experiment.token_list)
    model = ASRTask.build_model(args)
    model.load_state_dict(_tensors(experiment, stack, model))
    if not overwrite and not _same(folder, model.state_dict()):
        raise StackError(
            f"{folder}: holds another model than this plan makes of {experiment.directory}; name "
            "another directory, or say --overwrite"
        )
    with atomic_open(folder / CHECKPOINT, "wb") as binary:
        torch.save(model.state_dict(), binary)
    with atomic_open(folder / "config.yaml") as text:
        yaml.safe_dump(vars(args), text, sort_keys=False, allow_unicode=True)


def _same(folder: Path, state: Dict[str, Tensor]) -> bool:
    """Whether nothing is in the way of these parameters, or they are there already."""
    path = folder / CHECKPOINT
    if not path.exists():
        return not (folder / "config.yaml").exists()
    try:
        there = torch_load(path)
    except Exception:  # whatever it is, it is not ours
        return False
    return (
        isinstance(there, dict)
        and there.keys() == state.keys()
        and all(torch.equal(tensor, there[name]) for name, tensor in state.items())
    )


def _tensors(experiment: Experiment, stack: Stack, model: Any) -> Any:
    gone = ("encoder.", "frontend.", "normalize.", "preencoder.")
    kept = {k: v for k, v in experiment.model.state_dict().items() if not k.startswith(gone)}
    kept.update({f"encoder.stack.{name}": v for name, v in stack.state_dict().items()})
    passes = "encoder.training_passes"
    kept[passes] = model.state_dict()[passes]
    return kept


def check_output(experiment: Experiment) -> None:
    """Whether the CTC layer of an experiment reads the output of the last block.

    Raises:
        StackError: it sees something else.
    """
    model = experiment.model
    if getattr(model.encoder, "weights", None) is not None:
        raise StackError(f"{experiment.directory}: its CTC layer sees a weighted sum of all blocks")
    if getattr(model, "postencoder", None) is not None:
        raise StackError(f"{experiment.directory}: its model has a post-encoder")
