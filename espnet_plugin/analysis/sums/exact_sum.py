"""Sums that do not depend on the order of adding, so any split over jobs merges to the same bits.

Floating-point addition is not associative; integer addition is. Each value is rounded once, by
itself, to a multiple of 2**-70 and added as two 64-bit integers (multiples of 2**-30 and of
2**-70). The rounding is below the last bit of any float64 value above 2**-18, the memory is two
numbers per sum whatever the number of values.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence

import torch

_HIGH, _LOW = 30, 40
_LIMIT = float(1 << 12)


class ExactSum:
    """Element-wise sums of float64 tensors of one shape, exact and in any order.

    Takes values below 4096 in magnitude, up to two million of them.

    Args:
        shape: the shape of the values.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._high = torch.zeros(tuple(shape), dtype=torch.int64)
        self._low = torch.zeros(tuple(shape), dtype=torch.int64)
        self.count = 0

    @property
    def shape(self) -> torch.Size:
        return self._high.shape

    def add(self, values: torch.Tensor) -> None:
        """Add ``values`` (N, *shape), float64: N values for each sum.

        Raises:
            ValueError: another shape; a value that is not finite or is too large. Nothing is
                added then.
        """
        values = values.detach().to("cpu", torch.float64)
        if values.shape[1:] != self.shape:
            raise ValueError(f"values are {tuple(values.shape[1:])}, sums {tuple(self.shape)}")
        if not bool((values.abs() < _LIMIT).all()):
            raise ValueError("a value is not finite or not below 4096")
        scaled = values * 2.0**_HIGH
        high = scaled.floor()
        low = ((scaled - high) * 2.0**_LOW).round()
        self._sum(high.to(torch.int64).sum(0), low.to(torch.int64).sum(0), values.shape[0])

    def merge(self, other: ExactSum) -> None:
        """Add what another has summed."""
        if other.shape != self.shape:
            raise ValueError(f"sums are {tuple(other.shape)} and {tuple(self.shape)}")
        self._sum(other._high, other._low, other.count)

    def _sum(self, high: torch.Tensor, low: torch.Tensor, count: int) -> None:
        # new tensors: those made under torch.inference_mode() cannot be changed outside it
        low = self._low + low
        self._high = self._high + high + (low >> _LOW)
        self._low = low & ((1 << _LOW) - 1)
        self.count += count

    def mean(self) -> torch.Tensor:
        """The means, float64.

        Raises:
            ValueError: nothing was added.
        """
        if not self.count:
            raise ValueError("no values were added, so there is no mean")
        total = self._high.double() * 2.0**-_HIGH + self._low.double() * 2.0 ** -(_HIGH + _LOW)
        return total / self.count

    def state_dict(self) -> Dict[str, Any]:
        """Everything, as tensors and a number; ``torch.save`` takes it."""
        return {"high": self._high.clone(), "low": self._low.clone(), "count": self.count}

    @classmethod
    def from_state_dict(cls, state: Dict[str, Any]) -> ExactSum:
        sums = cls(state["high"].shape)
        sums._sum(state["high"], state["low"], int(state["count"]))
        return sums
