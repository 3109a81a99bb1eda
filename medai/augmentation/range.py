"""Ranges as MONAI's transforms take them in their arguments."""

from collections.abc import Sequence

Range = tuple[float, float]
RangeArgument = float | Sequence[float]
AxesArgument = float | Sequence[float | Sequence[float]] | None


def symmetric(argument: RangeArgument) -> Range:
    """``0.2`` is (-0.2, 0.2); a pair is itself, in order."""
    if isinstance(argument, int | float):
        return -abs(argument), abs(argument)
    return pair(argument)


def pair(argument: Sequence[float]) -> Range:
    """A pair, in order.

    Raises:
        ValueError: it is no pair of numbers.
    """
    if not isinstance(argument, Sequence) or len(argument) != 2 or not all(isinstance(value, int | float) for value in argument):
        raise ValueError(f"a range is a pair of numbers, got {argument!r}")
    return min(argument), max(argument)


def by_axis(argument: AxesArgument) -> list[Range]:
    """The ranges of the first and the second axis (rows, columns), or of as many as are given.

    ``0.2`` is a range of the first axis, ``[0.2, 0.1]`` of both, ``[[-0.2, 0.3], 0.1]`` has one that is not symmetric.

    Raises:
        ValueError: an element is neither a number nor a pair.
    """
    if argument is None:
        return []
    elements = argument if isinstance(argument, Sequence) else [argument]
    return [symmetric(element) for element in elements[:2]]
