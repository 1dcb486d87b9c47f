"""ESPnet's ASR task with the plug-in's encoders, also in spawned processes.

Multi-GPU training *spawns* one process per GPU and pickles ``cls.main_worker`` into it.
There a plain ``espnet2.tasks.asr.ASRTask`` would be imported afresh, without the encoders
that the parent had added. The method of this subclass is pickled by the name of this
module, whose import registers.

In ESPnet 3 name it in the configuration: ``task: espnet_plugin.task.ASRTask``.
"""

from __future__ import annotations

import argparse

from espnet2.tasks.asr import ASRTask as EspnetASRTask
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_plugin.encoders.groups import resolve_reuse_groups
from espnet_plugin.registry import register

register()


class ASRTask(EspnetASRTask):
    """``espnet2.tasks.asr.ASRTask``; the encoders of the plug-in are among its choices."""

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AbsESPnetModel:
        """Build the model, as ESPnet does, from ``args``.

        A plan's path in ``args.encoder_conf`` is replaced by what the plan says first. ESPnet
        writes ``args`` to ``config.yaml`` after this, so a trained model needs no plan file.
        """
        resolve_reuse_groups(args.encoder_conf)
        return super().build_model(args)
