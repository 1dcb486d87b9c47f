"""An experiment directory with random parameters: what a configuration costs before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

import torch
import yaml

from espnet_plugin.atomic import PathLike, atomic_open, atomic_path

CHECKPOINT = "valid.loss.ave.pth"


def create_untrained(
    exp_dir: PathLike, config: Dict[str, Any], token_list: Sequence[str], seed: int = 0
) -> Path:
    """Write config.yaml and a checkpoint of freshly initialised parameters.

    Args:
        exp_dir: the directory to write.
        config: a training configuration as for ``--asr_config``; what it leaves out has ESPnet's
            defaults, and features are normalised by utterance where it names no ``normalize``
            (global statistics do not exist yet).
        token_list: the output symbols, beginning with ``<blank>`` and ending with ``<sos/eos>``.
        seed: of the initialisation.

    Returns:
        ``exp_dir``.
    """
    from espnet_plugin.task import ASRTask

    parser = ASRTask.get_parser()
    parser.set_defaults(**{"normalize": "utterance_mvn", **config})
    args = parser.parse_args([])
    args.token_list = list(token_list)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ASRTask.build_model(args)
    directory = Path(exp_dir)
    with atomic_path(directory / CHECKPOINT) as temporary:
        torch.save(model.state_dict(), temporary)
    with atomic_open(directory / "config.yaml") as stream:
        yaml.safe_dump(vars(args), stream, sort_keys=False)
    return directory
