"""Any checkpoint as a stack."""

from __future__ import annotations

from pathlib import Path

from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.asr import stack_of
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.espnet_parts import check_parts
from espnet_plugin.stacks.experiment import ExperimentError, load_experiment, read_config
from espnet_plugin.stacks.files.build import build_stack
from espnet_plugin.stacks.files.recognise import (
    kind_of_content,
    kind_of_directory,
    read_content,
    read_model,
)
from espnet_plugin.stacks.stack import Stack


def load_stack(path: PathLike, device: str = "cpu") -> Stack:
    """Load a speech encoder; what kind of file it is, its content says.

    Args:
        path: a fairseq checkpoint of wav2vec 2.0 or HuBERT, pre-trained or fine-tuned with CTC; a
            torchaudio model; a stack of ours; or a directory: of transformers (wav2vec 2.0, HuBERT
            or WavLM), or of an ESPnet experiment. Neither fairseq nor transformers is needed, and
            nothing in the file can run.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        The stack, in evaluation mode, its parameters float32.

    Raises:
        StackError: one line that names the file, what is wrong with it and what to do.
    """
    path = Path(path)
    try:
        stack = _load(path)
    except (StackError, ExperimentError) as error:
        raise StackError(str(error)) from error
    except OSError as error:
        raise StackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:
        said = " ".join(str(error).split()) or "it does not fit into memory"
        raise StackError(f"{path}: {said}") from error
    return stack.to(device).eval()


def _load(path: Path) -> Stack:
    content = None
    if path.is_dir():
        kind = kind_of_directory(path)
    elif not path.is_file():
        raise StackError(f"{path}: not there; name a file or a directory")
    else:
        content = read_content(path)
        kind = kind_of_content(content)
    if kind == "stack":
        return Stack.load(path)
    if kind == "espnet":
        check_parts(vars(read_config(path)))
        return stack_of(load_experiment(path))
    return build_stack(*read_model(path, kind, content))
