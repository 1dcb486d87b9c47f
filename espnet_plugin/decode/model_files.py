"""Which files a decoding's options name: experiments, packed models, ESPnet's language models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, Optional, Tuple


def unpack_model(tag: str, directory: Path) -> Dict[str, str]:
    """Files of a packed model: a local archive is unpacked to ``directory``.

    Raises:
        ImportError: if ``tag`` is no file here and espnet_model_zoo, which downloads, is absent.
    """
    if Path(tag).is_file():
        from espnet2.main_funcs.pack_funcs import unpack

        return unpack(tag, directory, use_cache=False)
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError:
        raise ImportError(
            f"--model_tag {tag}: no such file, and to download a model install espnet_model_zoo"
        ) from None
    return ModelDownloader().download_and_unpack(tag)


def find_model(args: argparse.Namespace) -> Tuple[Path, Optional[str]]:
    """Experiment directory and checkpoint (None: the best average) that the options name.

    Raises:
        ValueError: if configuration and checkpoint are not in one directory.
        ImportError: as :func:`unpack_model`.
    """
    if args.exp_dir is not None:
        return Path(args.exp_dir), args.checkpoint
    config, model = args.asr_train_config, args.asr_model_file
    if args.model_tag is not None:
        files = unpack_model(args.model_tag, Path(args.output_dir) / "model")
        config, model = files["asr_train_config"], files["asr_model_file"]
    directory = Path(config if config is not None else model).parent
    if config is not None and Path(config).name != "config.yaml":
        raise ValueError(f"--asr_train_config {config}: must be an experiment's config.yaml")
    if model is not None and Path(model).parent.resolve() != directory.resolve():
        raise ValueError(f"--asr_model_file {model}: must be beside {config}")
    return directory, Path(model).name if model is not None else None


def load_nnlm(config: Optional[str], model: Optional[str], device: str) -> Any:
    """An ESPnet language model in evaluation mode; None if no file is named.

    Raises:
        ValueError: if only one of the two files is named.
        FileNotFoundError: if a file is not there.
    """
    if config is None and model is None:
        return None
    if config is None or model is None:
        raise ValueError("--lm_train_config and --lm_file belong together")
    for path in (config, model):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: not there")
    from espnet2.tasks.lm import LMTask

    return LMTask.build_model_from_file(config, model, device)[0].eval()
