"""How much of what a stack can do is left after an edit.

"Predictive capacity" of Dorszewski et al. (ICASSP 2025, arXiv 2409.16302): what the edited model
reaches in a task, relative to the unedited one.
"""

from __future__ import annotations

import math
from typing import Callable

from espnet_plugin.stacks.stack import Stack

Capacity = Callable[[Stack], float]
"""Of a stack, edited or not: higher is better, on one scale for all stacks that are compared, for
example an accuracy from 0 to 1, or 1 − WER."""


def relative(capacity: Capacity, edited: Stack, original: Stack, chance: float = 0.0) -> float:
    """The share of ``original``'s capacity that ``edited`` has kept; see :func:`kept`."""
    return kept(capacity(edited), capacity(original), chance)


def kept(edited: float, original: float, chance: float = 0.0) -> float:
    """(edited − chance) / (original − chance).

    Args:
        edited, original: capacities.
        chance: the capacity of a guess. With 0 (the paper's reading) the plain ratio.

    Returns:
        1 where nothing is lost, 0 at chance, below 0 where it is worse than that.

    Raises:
        ValueError: a value that is not finite, or an original that is not better than chance.
    """
    if not all(math.isfinite(value) for value in (edited, original, chance)):
        raise ValueError(f"capacities must be finite, not {edited}, {original}, {chance}")
    if original <= chance:
        raise ValueError(f"the original's capacity {original} is not above chance ({chance})")
    return (edited - chance) / (original - chance)
