"""ESPnet's ASR task with the plug-in's encoders, also in spawned processes.

Multi-GPU training *spawns* one process per GPU and pickles ``cls.main_worker`` into it.
There a plain ``espnet2.tasks.asr.ASRTask`` would be imported afresh, without the encoders
that the parent had added. The method of this subclass is pickled by the name of this
module, whose import registers.

In ESPnet 3 name it in the configuration: ``task: espnet_plugin.task.ASRTask``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from espnet2.tasks.asr import ASRTask as EspnetASRTask
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_plugin.encoders.groups import resolve_reuse_groups
from espnet_plugin.encoders.stack_conf import start_from_checkpoint
from espnet_plugin.encoders.stack_encoder import StackEncoder
from espnet_plugin.registry import register

register()


class ASRTask(EspnetASRTask):
    """``espnet2.tasks.asr.ASRTask``; the encoders of the plug-in are among its choices."""

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AbsESPnetModel:
        """Build the model, as ESPnet does, from ``args``.

        A plan's path in ``args.encoder_conf`` is replaced by what the plan says first, and an
        encoder that is a stack adds the option ``stack``, what it is made of. ESPnet writes
        ``args`` to ``config.yaml`` after this, so a trained model needs neither a plan nor the
        checkpoint that its training began with.
        """
        resolve_reuse_groups(args.encoder_conf)
        model = super().build_model(args)
        if isinstance(model.encoder, StackEncoder):
            args.encoder_conf["stack"] = model.encoder.stack_conf()
            model.encoder.passes_per_update = getattr(args, "accum_grad", 1)
        return model

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Train, as ESPnet does.

        Where ``args`` are those of a ``config.yaml``, with ``checkpoint`` and ``stack``, a new
        training begins with the checkpoint, and one that is resumed does not need it.
        """
        resumed = args.resume and (Path(args.output_dir) / "checkpoint.pth").exists()
        if not resumed:
            start_from_checkpoint(args.encoder_conf)
        super().main_worker(args)
