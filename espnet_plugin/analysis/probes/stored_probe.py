"""A fitted probe, as ``analyze`` wrote it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Optional, Tuple

import numpy as np
import torch
from torch import nn

from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.atomic import PathLike


@dataclass(frozen=True)
class StoredProbe:
    """One probe of an analysis directory."""

    head: nn.Linear
    """Features (…, D) -> scores (…, C), float32."""
    classes: Tuple[str, ...]
    """The labels of the scores."""
    held_out: FrozenSet[str]
    """The utterances of the part that it was not fitted on."""

    @property
    def fingerprint(self) -> str:
        """Of its parameters, its classes and what it was not fitted on."""
        digest = hashlib.sha256()
        for tensor in (self.head.weight, self.head.bias):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        digest.update(json.dumps([self.classes, sorted(self.held_out)]).encode())
        return digest.hexdigest()

    @classmethod
    def load(
        cls,
        directory: PathLike,
        name: str = "phone_probe",
        state: int = -1,
        fingerprint: Optional[str] = None,
    ) -> StoredProbe:
        """Read what ``analyze`` wrote.

        Args:
            directory: of the analysis.
            name: phone_probe, word_probe or speaker_probe.
            state: of which hidden state; −1: the last one.
            fingerprint: of the model that it is to be of
                (:attr:`espnet_plugin.analysis.suite.subject.Subject.fingerprint`).

        Raises:
            AnalysisError: not measured there, a probe that could not be fitted, no such state, or
                of another model; one line.
        """
        base = Path(directory) / name
        try:
            found = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
            if found.get("reason"):
                raise AnalysisError(f"{base}.json: could not be fitted: {found['reason']}")
            if fingerprint not in (None, found["model"]["sha256"]):
                raise AnalysisError(
                    f"{base}.json: of {found['model']['directory']} with other parameters; "
                    "analyze this model"
                )
            with np.load(base.with_suffix(".npz"), allow_pickle=False) as arrays:
                weight, bias = arrays["weight"][state], arrays["bias"][state]
                classes = tuple(str(label) for label in arrays["classes"])
            held_out = frozenset(found["held_out"])
        except AnalysisError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise AnalysisError(
                f"{base}.json: not there; name the directory of an analysis, and measure {name} "
                "with analyze"
            ) from None
        except (OSError, KeyError, ValueError, IndexError) as error:
            said = " ".join(str(error).split())
            raise AnalysisError(
                f"{base}.npz: no probe of state {state} ({said}); measure {name} with analyze"
            ) from None
        head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))
        return cls(head.eval(), classes, held_out)
