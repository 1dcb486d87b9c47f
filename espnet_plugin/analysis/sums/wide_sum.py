"""Exact sums of float64 values of any size, so any split over jobs merges to the same bits.

As :mod:`espnet_plugin.analysis.sums.exact_sum`, for values whose scale nobody knows beforehand: a
value is cut into the 32-bit digits of one fixed-point number that is wide enough for every
float64, from 2**-1074 to 2**1024. Digits are added as integers and the total is rounded
once, at the end.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence

import torch

_BITS = 32
_MASK = (1 << _BITS) - 1
_POINT = 1126
"""The value of the lowest digit's unit is 2**-_POINT."""
_DIGITS = (1024 - 53 + _POINT) // _BITS + 3


class WideSum:
    """Element-wise sums of float64 tensors of one shape; up to 2**30 values each.

    Memory is :data:`_DIGITS` (68) integers per sum, whatever the number of values.

    Args:
        shape: of the values.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = torch.Size(shape)
        self._digits = torch.zeros(_DIGITS, self.shape.numel(), dtype=torch.int64)

    def add(self, values: torch.Tensor) -> None:
        """Add one value to each sum.

        Args:
            values: of the shape of the sums, float64.

        Raises:
            ValueError: another shape, or a value that is not finite; nothing is added then.
        """
        values = values.detach().to("cpu", torch.float64)
        if values.shape != self.shape:
            raise ValueError(f"values are {tuple(values.shape)}, sums {tuple(self.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("a value is not finite")
        fraction, exponent = torch.frexp(values.flatten())
        whole = (fraction.abs() * 2.0**53).to(torch.int64)
        sign = fraction.sign().to(torch.int64)
        place = exponent.to(torch.int64) - 53 + _POINT
        digit, shift = place // _BITS, place % _BITS
        low, high = (whole & _MASK) << shift, (whole >> _BITS) << shift
        parts = (low & _MASK, (low >> _BITS) + (high & _MASK), high >> _BITS)
        digits = self._digits.clone()  # those made under inference_mode cannot be changed outside
        for offset, part in enumerate(parts):
            digits.scatter_add_(0, (digit + offset)[None], (sign * part)[None])
        self._digits = digits

    def merge(self, other: WideSum) -> None:
        """Add what another has summed."""
        if other.shape != self.shape:
            raise ValueError(f"sums are {tuple(other.shape)} and {tuple(self.shape)}")
        self._digits = self._digits + other._digits

    def total(self) -> torch.Tensor:
        """The sums, float64, each correctly rounded.

        Raises:
            OverflowError: a sum is beyond the range of float64.
        """
        sums = []
        for digits in self._digits.T.tolist():
            number = sum(digit << (_BITS * place) for place, digit in enumerate(digits) if digit)
            sums.append(number / (1 << _POINT))
        return torch.tensor(sums, dtype=torch.float64).reshape(self.shape)

    def state_dict(self) -> Dict[str, Any]:
        """Everything, as a tensor; ``torch.save`` takes it."""
        return {"digits": self._digits.reshape(_DIGITS, *self.shape).clone()}

    @classmethod
    def from_state_dict(cls, state: Dict[str, Any]) -> WideSum:
        digits = state["digits"]
        sums = cls(digits.shape[1:])
        sums._digits = digits.reshape(_DIGITS, -1).clone()
        return sums
