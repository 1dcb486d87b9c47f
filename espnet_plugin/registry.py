"""Encoder names -> classes, added to ESPnet's choices without editing ESPnet.

ESPnet keeps the encoders that ``--encoder`` may name in a module-level
``encoder_choices`` per task: ``espnet2.tasks.asr``, ``espnet2.tasks.slu`` and so on,
and, in ESPnet >= 202609, a copy in ``espnet3.systems.esp2_asr.task``. Importing such a
module costs seconds (torch and every encoder of ESPnet), far too much for the many
small commands of a recipe. So :func:`register` imports none of them: it adds the
encoders to the task modules that are imported already, and leaves a finder on
``sys.meta_path`` that adds them to any other right after its import. The encoder
classes themselves are imported at that moment too.

An encoder is added wherever ESPnet's own ConformerEncoder is a choice, that is, to every
task that builds its encoder with ``encoder_class(input_size=..., **encoder_conf)``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ENCODERS = {
    "reuse_conformer": "espnet_plugin.encoders.reuse_conformer:ReuseConformerEncoder",
    "filtered_wav2vec2": "espnet_plugin.encoders.filtered_wav2vec2:FilteredWav2Vec2Encoder",
    "pruned_stack": "espnet_plugin.encoders.pruned_stack:PrunedStackEncoder",
    "mimic_stack": "espnet_plugin.encoders.mimic_stack:MimicStackEncoder",
}
"""Name in a training YAML -> ``module:class``. Keys are lower case, as ESPnet wants them."""

_TASK_PACKAGES = ("espnet2.tasks.", "espnet3.systems.")


def register() -> None:
    """Make the encoder types of :data:`ENCODERS` choices of ESPnet's ``--encoder``.

    Cheap, and may be called any number of times, before or after ESPnet is imported.
    The choices belong to the process: a process that is *spawned* (multi-GPU training)
    has to call it again, which importing :mod:`espnet_plugin.task` does.

    Raises:
        ValueError: a name is not lower case, or ESPnet has another class under it.
        TypeError: a class is not an ESPnet ``AbsEncoder``.
        Both come from the import of the task module where that is still to come.
    """
    if not any(isinstance(finder, _TaskFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TaskFinder())
    for name, module in list(sys.modules.items()):
        if name.startswith(_TASK_PACKAGES):
            _add_encoders(module)


class _TaskFinder:
    """Adds the encoders to an ESPnet task module right after its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_TASK_PACKAGES):
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                break
        else:
            return None
        if spec.loader is not None:
            _call_after_exec(spec.loader)
        return spec


def _call_after_exec(loader: Any) -> None:
    exec_module = loader.exec_module

    def exec_then_add(module: ModuleType) -> None:
        exec_module(module)
        _add_encoders(module)

    loader.exec_module = exec_then_add


def _add_encoders(module: ModuleType) -> None:
    """Add :data:`ENCODERS` to ``module.encoder_choices``, if it has choices for speech."""
    choices = getattr(module, "encoder_choices", None)
    if choices is None:
        return
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    if ConformerEncoder not in choices.classes.values():
        return
    for name, target in ENCODERS.items():
        encoder = _load(target)
        if name != name.lower():
            raise ValueError(f"encoder name {name!r}: ESPnet wants lower case")
        if not issubclass(encoder, choices.base_type):
            raise TypeError(f"encoder {name!r}: {target} is no {choices.base_type.__name__}")
        present = choices.classes.setdefault(name, encoder)
        if present is not encoder:
            raise ValueError(
                f"encoder {name!r}: {module.__name__} already has {present.__module__}."
                f"{present.__qualname__} under this name; remove one of the two"
            )


def _load(target: str) -> type:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
