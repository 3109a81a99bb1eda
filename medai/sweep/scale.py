"""From a setting's values to places on an axis."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """Places from 0 to 1 for the values of one setting.

    Args:
        key: The setting.
        options: Its values where they are a list; they stand at equal distances.
        low: Smallest number otherwise.
        high: Largest number.
        log: Evenly in the logarithm.

    Example:
        >>> Scale("lr", low=1e-4, high=1e-2, log=True).place("0.001")
        0.5
    """

    key: str
    options: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    @classmethod
    def of(cls, dimension: Mapping[str, Any]) -> "Scale":
        """The scale of a dimension as `sweep.json` has it."""
        return cls(dimension["key"], tuple(dimension["options"]), dimension["low"], dimension["high"], dimension["log"])

    def place(self, text: str) -> float:
        """Where a value lies."""
        if self.options:
            return (self.options.index(text) + 0.5) / len(self.options)
        low, high, value = (math.log10(number) if self.log else number for number in (self.low, self.high, float(text)))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their names."""
        if self.options:
            return [(self.place(option), option) for option in self.options]
        return [(self.place(repr(value)), number(value)) for value in (self._decades() if self.log else even(self.low, self.high))]

    def _decades(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        powers = [10.0**power for power in range(first, last + 1)]
        if len(powers) < 2:
            return [self.low, math.sqrt(self.low * self.high), self.high]
        return powers[:: max(1, math.ceil(len(powers) / MOST_TICKS))]


def even(low: float, high: float) -> list[float]:
    """About five round numbers within a range."""
    rough = (high - low) / (MOST_TICKS - 1) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A short number, small and large ones as powers: 0.25, 1e-4, 3e5."""
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}"


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or as many as tell them apart.

    Example:
        >>> short_names(["training.optimizer.lr", "seed"])
        {'training.optimizer.lr': 'lr', 'seed': 'seed'}
    """

    def last(key: str, parts: int) -> str:
        return ".".join(key.split(".")[-parts:])

    found = {}
    for key in keys:
        parts = 1
        while parts < key.count(".") + 1 and sum(last(other, parts) == last(key, parts) for other in keys) > 1:
            parts += 1
        found[key] = last(key, parts)
    return found
