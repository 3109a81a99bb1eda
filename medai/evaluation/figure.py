"""A figure: a number that carries its interval, its n and the method that made it."""

from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """One result.

    Attributes:
        value: The estimate; None where the data do not define it, and then `reason` says why.
        low: Lower end of the interval, None where there is none.
        high: Upper end of the interval.
        n: Number of cases that the value is made of.
        method: How the interval was made, e.g. ``"DeLong"``.
        reason: Why there is no value or no interval; else empty.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict; `reason` is left out where it is empty."""
        record: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "method": self.method}
        return record | ({"reason": self.reason} if self.reason else {})


def missing(n: int, method: str, reason: str) -> Figure:
    """A figure without a value."""
    return Figure(None, None, None, n, method, reason)
