"""The loop that all training here has in common."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.distill import checkpoint
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.checkpoint import Progress
from espnet_plugin.distill.settings import Settings
from espnet_plugin.progress import progress as shown
from espnet_plugin.stacks.batches import Batch

logger = logging.getLogger(__name__)

Objective = Callable[[Batch], Dict[str, Tensor]]
"""From a batch to the terms to look at, scalars; "loss" among them is what is made small."""
NORMS = (nn.modules.batchnorm._BatchNorm,)


def train(
    objective: Objective,
    learner: nn.Module,
    parameters: Sequence[nn.Parameter],
    batches: SpeechBatches,
    settings: Settings,
    valid: Optional[SpeechBatches] = None,
    directory: Optional[PathLike] = None,
    what: str = "distill",
    said: Optional[Dict[str, Any]] = None,
) -> List[Dict[str, Any]]:
    """Make the objective small.

    Args:
        objective: computes with ``learner``.
        learner: holds all that is trained; afterwards it has the parameters with the least held-out
            loss, those that it came with included, or without ``valid`` the last ones.
        parameters: those of it that are trained.
        batches: to learn from.
        settings: how long and how fast.
        valid: held-out speech.
        directory: gets ``checkpoint.pt``; a run that finds one continues it, to the bit on a CPU
            as if it had not been cut off.
        what: the noun in the log.
        said: plain values that a checkpoint must agree with to be continued.

    Returns:
        What was seen at each look at the held-out data; see :class:`Progress`.

    Raises:
        ValueError: nothing to train; a batch that cannot be used; a checkpoint of another training;
            losses that are no numbers.
    """
    parameters = list(parameters)
    if not parameters:
        raise ValueError(f"{what}: there is nothing to train")
    with learning(learner, parameters):
        run = _Run(objective, learner, parameters, settings, valid, what)
        run.file = None if directory is None else Path(directory) / "checkpoint.pt"
        run.said = {**asdict(settings), **(said or {})}
        run.all(batches)
    return run.progress.history


@contextmanager
def learning(learner: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Only ``parameters`` need a gradient; afterwards all is as before."""
    needed = [(p, p.requires_grad) for p in learner.parameters()]
    modes = [(module, module.training) for module in learner.modules()]
    learner.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, was in needed:
            parameter.requires_grad_(was)
            parameter.grad = None
        for module, mode in modes:
            module.training = mode


def learning_mode(learner: nn.Module, dropout: bool) -> None:
    """Training mode; without dropout that of the batch norms alone, if anything in them learns."""
    learner.train(dropout)
    for module in learner.modules():
        if isinstance(module, NORMS):
            module.train(any(p.requires_grad for p in module.parameters()))


class _Run:
    def __init__(
        self,
        objective: Objective,
        learner: nn.Module,
        parameters: Sequence[nn.Parameter],
        settings: Settings,
        valid: Optional[SpeechBatches],
        what: str,
    ) -> None:
        self.objective, self.learner, self.settings = objective, learner, settings
        self.parameters, self.valid, self.what = parameters, valid, what
        self.optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.progress = Progress()
        self.best: Dict[str, Tensor] = {}
        self.file: Optional[Path] = None
        self.said: Dict[str, Any] = {}
        self.before = 0.0
        self.start = time.monotonic()
        self.sums: Dict[str, float] = {}
        self.count = 0

    def all(self, batches: SpeechBatches) -> None:
        torch.manual_seed(self.settings.seed)
        if self.file is not None and self.file.is_file():
            self.progress, self.best = checkpoint.load(
                self.file, self.said, self.learner, self.optimizer
            )
            self.before = self.progress.seconds
            logger.info("%s: continued after %d updates", self.what, self.progress.updates)
        else:
            self.look()
        for _ in shown(self.updates(batches), f"{self.what} (updates)", self.settings.max_updates):
            if self.progress.updates % self.settings.interval == 0:
                self.look()
        if self.progress.updates > self.progress.history[-1]["updates"]:
            self.look()
        checkpoint.restore(self.learner, self.best)

    def updates(self, batches: SpeechBatches) -> Iterator[None]:
        now = self.progress
        plan = batches.epoch(now.epoch)
        while self.settings.share(now.updates, self.seconds()) < 1:
            if now.batch >= len(plan):
                now.epoch, now.batch = now.epoch + 1, 0
                plan = batches.epoch(now.epoch)
            self.update(batches.read(plan[now.batch]))
            now.batch += 1
            now.updates += 1
            yield

    def update(self, batch: Batch) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.progress.updates, self.seconds())
        learning_mode(self.learner, self.settings.dropout)
        terms = self.objective(batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        if not bool(torch.isfinite(norm)):
            logger.warning("%s: no finite gradient, left out", ", ".join(batch[0]))
            return
        self.optimizer.step()
        self.count += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())

    def look(self) -> None:
        """Held-out loss, a line in the log, a checkpoint."""
        now = self.progress
        if now.updates and not self.count:
            raise ValueError(f"{self.what}: no gradient was finite; lower the learning rate")
        means = {name: total / self.count for name, total in self.sums.items()}
        held_out = self.held_out()
        if self.valid is None or now.best is None or held_out["loss"] < now.best:
            now.best = held_out.get("loss")
            self.best = checkpoint.changing(self.learner)
        now.seconds = self.seconds()
        now.history.append(
            {"updates": now.updates, "seconds": now.seconds, **means, "valid": held_out}
        )
        self.sums, self.count = {}, 0
        logger.info(
            "%s: %d updates, %.0f s%s%s",
            self.what,
            now.updates,
            now.seconds,
            _listed("; ", means),
            _listed("; held-out ", held_out),
        )
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self.file, self.said, now, self.learner, self.best, self.optimizer)

    @torch.no_grad()
    def held_out(self) -> Dict[str, float]:
        """The terms on held-out data, each batch by its share of the samples."""
        if self.valid is None:
            return {}
        self.learner.eval()
        total, sums = 0, {}  # type: ignore[var-annotated]
        for planned in self.valid.epoch(0):
            batch = self.valid.read(planned)
            samples = int(batch[2].sum())
            total += samples
            for name, value in self.objective(batch).items():
                sums[name] = sums.get(name, 0.0) + float(value) * samples
        return {name: value / total for name, value in sums.items()}

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start


def _listed(before: str, terms: Dict[str, float]) -> str:
    return before + ", ".join(f"{k} {v:.5g}" for k, v in terms.items()) if terms else ""
