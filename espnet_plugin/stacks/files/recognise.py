"""Which kind of model a file or directory holds, by its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

from espnet_plugin.stacks.files import fairseq, torchaudio_models
from espnet_plugin.stacks.files.hugging_face import read_hugging_face
from espnet_plugin.stacks.files.inert import Record
from espnet_plugin.stacks.files.names import Tensors
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.files.torch_file import read_torch_file
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.surgery.plan import BlockPlan

KNOWN = (
    "name a fairseq checkpoint (wav2vec 2.0, HuBERT), a torchaudio model, a saved stack, or a "
    "directory of transformers or of an ESPnet experiment"
)


def kind_of_directory(directory: Path) -> str:
    """ "hugging_face" or "espnet".

    Raises:
        FileError: neither.
    """
    if (directory / "config.json").is_file():
        return "hugging_face"
    if (directory / "config.yaml").is_file():
        return "espnet"
    raise FileError(f"it has neither config.json nor config.yaml; {KNOWN}")


def kind_of_content(content: Any) -> str:
    """ "stack", "fairseq" or "torchaudio", for what :func:`read_torch_file` returned.

    Raises:
        FileError: none of them; the message says what to name instead, where that is plain.
    """
    if isinstance(content, Record):
        return "torchaudio"
    if not isinstance(content, dict):
        raise FileError(f"it holds no model; {KNOWN}")
    if str(content.get("format")).startswith("espnet_plugin stack"):
        return "stack"
    if isinstance(content.get("model"), dict) and ("cfg" in content or "args" in content):
        return "fairseq"
    state = content.get("state_dict", content)
    names = [name for name in state if isinstance(name, str)] if isinstance(state, dict) else []
    if any(name.endswith(torchaudio_models.ANCHOR) for name in names):
        return "torchaudio"
    if any(name.endswith("encoder.pos_conv_embed.conv.bias") for name in names):
        raise FileError("it has no configuration; name its directory, with config.json")
    training = content.get("model")  # in ESPnet's checkpoint.pth
    names += [n for n in training if isinstance(n, str)] if isinstance(training, dict) else []
    if any(name.startswith(("encoder.encoders.", "encoder.stack.")) for name in names):
        raise FileError("it is a model of ESPnet; name its directory, with config.yaml")
    raise FileError(f"it holds no model that is known; {KNOWN}")


def read_model(
    path: Path, kind: str, content: Any = None
) -> Tuple[Wav2Vec2Config, Tensors, Tuple[BlockPlan, ...]]:
    """The configuration, tensors and edits of a model of one of the three foreign kinds."""
    if kind == "hugging_face":
        return (*read_hugging_face(path), ())
    if kind == "fairseq":
        return fairseq.read_fairseq(path, content)
    return (*torchaudio_models.read_torchaudio(content), ())


def read_content(path: Path) -> Any:
    """The content of a file, unless it is one that a directory should be named for.

    Raises:
        FileError: a .safetensors file, or as :func:`read_torch_file`.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as stream:
        head = stream.read(9)
    if head[8:9] == b"{" and head[4:8] == b"\0\0\0\0":
        raise FileError("it has tensors alone; name its directory, with config.json")
    return read_torch_file(path)
