"""What a plan may cost."""

from __future__ import annotations

from dataclasses import dataclass

METRICS = ("speed", "block_speed", "parameters", "macs")


@dataclass(frozen=True)
class Budget:
    """A target.

    Attributes:
        metric: "speed" or "block_speed": times as fast, the whole stack or its blocks alone;
            "parameters" or "macs": the share of the stack's that may be left.
        value: of it.
    """

    metric: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From ``speed=2``, ``block_speed=2``, ``parameters=0.5`` or ``macs=0.5``.

        Raises:
            ValueError: not of that form, or a target that asks for nothing.
        """
        metric, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if metric not in METRICS or value != value:
            expected = ", ".join(f"{name}=NUMBER" for name in METRICS)
            raise ValueError(f"--budget: expected one of {expected}, not {text!r}")
        faster = metric.endswith("speed")
        if faster and not 1 < value < float("inf"):
            raise ValueError(
                f"--budget: {metric} is how many times as fast, above 1, not {value:g}"
            )
        if not faster and not 0 < value < 1:
            raise ValueError(
                f"--budget: {metric} is the share left, between 0 and 1, not {value:g}"
            )
        return cls(metric, value)

    @property
    def timed(self) -> bool:
        """Whether the cost is time."""
        return self.metric.endswith("speed")

    def cost(self, outside: float = 0.0) -> float:
        """The most that a plan may cost, as a share of the unedited stack's cost.

        Args:
            outside: the share of the time that is spent outside the blocks.
        """
        if self.metric == "block_speed":
            return outside + (1.0 - outside) / self.value
        return 1.0 / self.value if self.timed else self.value

    def reached(self, cost: float, outside: float = 0.0) -> float:
        """``value`` of a plan with that cost; the other way round of :meth:`cost`."""
        if self.metric == "block_speed":
            return (1.0 - outside) / max(cost - outside, 1e-9)
        return 1.0 / cost if self.timed else cost

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}"
