"""How long and how fast to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

DECAYS = ("linear", "cosine")


@dataclass(frozen=True)
class Settings:
    """AdamW with a warm-up and a decay to 0, over updates, over time, or over what ends first.

    Raises:
        ValueError: one line that names the setting that makes no sense.
    """

    max_updates: Optional[int] = 200
    max_seconds: Optional[float] = None
    """Of the whole run, held-out data included. What a run limited by time comes to depends on the
    machine."""
    learning_rate: float = 1e-3
    warmup: float = 0.1
    """Share of the run."""
    decay: str = "cosine"
    """One of :data:`DECAYS`."""
    weight_decay: float = 0.0
    grad_clip: float = 5.0
    """Largest norm of the gradient."""
    interval: int = 50
    """Updates between two looks at the held-out data, each with a checkpoint."""
    dropout: bool = False
    """Whether the student's dropout (and layer drop) is on. Without it only batch normalisation
    knows of the training."""
    seed: int = 0
    """Of dropout."""

    def __post_init__(self) -> None:
        if self.max_updates is None and self.max_seconds is None:
            raise ValueError("say when to stop: max_updates or max_seconds")
        if self.max_updates is not None and self.max_updates < 0:
            raise ValueError(f"max_updates must be 0 or above, not {self.max_updates}")
        for name in ("max_seconds", "learning_rate", "grad_clip", "interval"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be from 0 to less than 1, not {self.warmup}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be 0 or above, not {self.weight_decay}")
        if self.decay not in DECAYS:
            raise ValueError(f"decay must be one of {', '.join(DECAYS)}, not {self.decay!r}")

    def share(self, updates: int, seconds: float) -> float:
        """How much of the run is over, 0 to 1."""
        shares = [0.0]
        if self.max_updates is not None:
            shares.append(updates / self.max_updates if self.max_updates else 1.0)
        if self.max_seconds is not None:
            shares.append(seconds / self.max_seconds)
        return min(1.0, max(shares))

    def rate(self, updates: int, seconds: float) -> float:
        """The learning rate of the update that follows on so many."""
        share = self.share(updates, seconds)
        if share < self.warmup:
            after = self.share(updates + 1, seconds)
            return self.learning_rate * min(1.0, after / self.warmup)
        left = (1 - share) / (1 - self.warmup)
        factor = left if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))
        return self.learning_rate * factor


DEFAULT = Settings()
