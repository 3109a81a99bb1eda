"""What somebody can work out of released counts about a withheld one: an attacker's linear programme.

The attacker knows which cases are in which group (that is no secret), how many of them a candidate calls positive (the candidate's
maker can compute it), and every count that is released. Whatever withheld count follows from these within a narrow range is not withheld.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linprog
from scipy.sparse import block_array, csr_array, eye_array

EVENTS, TRUE = 0, 1
Cell = tuple[int, int]  # group, EVENTS or TRUE
SLACK = 1e-6


@dataclass(frozen=True)
class Bound:
    """What is known of a withheld count.

    Attributes:
        low: It is at least this.
        high: It is at most this.
        binding: The released cells that say so.
    """

    low: float
    high: float
    binding: frozenset[Cell]


class Knowledge:
    """The counts of one label in overlapping groups, as somebody without the labels sees them.

    Two counts a group: events (positive cases), and true positives. Atoms are the sets of cases that lie in exactly the same groups.

    Args:
        member: (G, n) which of the label's known cases each group holds. The first group should hold all.
        event: Truth of each case.
        called: The candidate's decision for each case; None where only events are counted.
    """

    def __init__(
        self, member: Bool[np.ndarray, "G n"], event: Bool[np.ndarray, " n"], called: Bool[np.ndarray, " n"] | None = None
    ) -> None:
        atoms, atom = np.unique(member, axis=1, return_inverse=True)
        count = atoms.shape[1]
        self.size = np.bincount(atom, minlength=count).astype(float)
        self.called = np.bincount(atom, weights=called, minlength=count) if called is not None else None
        self._in = atoms.astype(float)  # (G, A)
        true = event & called if called is not None else np.zeros_like(event)
        self.value = np.stack([member @ event.astype(int), member @ true.astype(int)])
        self.of = member.sum(axis=1)

    def bound(self, cell: Cell, released: Iterable[Cell]) -> Bound:
        """The range of a withheld count, given the released ones."""
        known = sorted(set(released))
        rows, cost = np.stack([self._row(each) for each in known]) if known else None, self._row(cell)
        values = np.array([float(self.value[family, group]) for group, family in known]) if known else None
        ends, binding = [], set()
        for sign in (1.0, -1.0):
            solved = linprog(
                sign * cost,
                A_ub=self._order[0],
                b_ub=self._order[1],
                A_eq=csr_array(rows) if rows is not None else None,
                b_eq=values,
                bounds=self._box,
                method="highs",
            )
            if solved.status != 0:
                return Bound(-np.inf, np.inf, frozenset()) if solved.status == 3 else self._exact(cell, known)
            ends.append(sign * solved.fun)
            if known:
                binding |= {known[place] for place in np.flatnonzero(np.abs(solved.eqlin.marginals) > SLACK)}
        return Bound(float(ends[0]), float(ends[1]), frozenset(binding))

    def unaided(self, cell: Cell, events_known: bool) -> float:
        """How wide the range is for somebody who was told nothing of this group but, perhaps, its events."""
        group, family = cell
        if family == EVENTS or self.called is None:
            return float(self.of[group])
        called = float(self._in[group] @ self.called)
        events = float(self.value[EVENTS, group]) if events_known else float(self.of[group])
        return min(events, called) - (max(0.0, events - (float(self.of[group]) - called)) if events_known else 0.0)

    def overlap(self, first: int, second: int) -> bool:
        """Whether two groups share cases."""
        return bool((self._in[first] * self._in[second]).any())

    def _exact(self, cell: Cell, known: list[Cell]) -> Bound:
        """Where the solver gives up, nothing is taken to be hidden."""
        value = float(self.value[cell[1], cell[0]])
        return Bound(value, value, frozenset(known))

    def _row(self, cell: Cell) -> Float64[np.ndarray, " v"]:
        group, family = cell
        empty = np.zeros_like(self._in[group])
        if self.called is None:
            return np.asarray(self._in[group])
        return np.concatenate([self._in[group], empty] if family == EVENTS else [empty, self._in[group]])

    @cached_property
    def _box(self) -> Float64[np.ndarray, "v 2"]:
        high = self.size if self.called is None else np.concatenate([self.size, self.called])
        return np.stack([np.zeros_like(high), high], axis=1)

    @cached_property
    def _order(self) -> tuple[csr_array | None, Float64[np.ndarray, " w"] | None]:
        """True positives are events, and events that are not called fit among the cases that are not."""
        if self.called is None:
            return None, None
        one = eye_array(len(self.size), format="csr")
        return csr_array(block_array([[-one, one], [one, -one]])), np.concatenate([np.zeros(len(self.size)), self.size - self.called])


def withhold(
    knowledge: Knowledge, small: set[Cell], least: int, sizes: Int64[np.ndarray, " G"], columns: list[str], families: tuple[int, ...]
) -> set[Cell]:
    """Withhold the small cells, and as many others as it takes to hide them.

    Args:
        knowledge: What the attacker sees.
        small: Cells that must not be known; where a group's events are withheld, its true positives are, too.
        least: A withheld count must be open over a range of `least` - 1 at least, or as wide as it was without any release.
        sizes: Cases of each group; of several candidates the smallest group is withheld.
        columns: Column of each group.
        families: The counts that are released at all.

    Returns:
        All withheld cells.
    """
    cells = {(group, family) for group in range(len(sizes)) for family in families}
    hidden = {cell for cell in cells if cell in small or (cell[0], EVENTS) in small}
    todo = sorted(hidden)
    while todo:
        cell = todo[-1]
        found = knowledge.bound(cell, cells - hidden)
        wanted = min(least - 1, knowledge.unaided(cell, (cell[0], EVENTS) not in hidden))
        if found.high - found.low >= wanted - SLACK:
            todo.pop()
            continue
        more = _next(knowledge, cell, cells - hidden, found.binding, sizes, columns)
        if more is None:
            todo.pop()
            continue
        hidden |= {other for other in cells if other == more or (more[1] == EVENTS and other[0] == more[0])}
    return hidden


def _next(
    knowledge: Knowledge, cell: Cell, released: set[Cell], binding: frozenset[Cell], sizes: Int64[np.ndarray, " G"], columns: list[str]
) -> Cell | None:
    """The cell to withhold next: the smallest that gives the secret away; the figures of all cases (group 0) go last."""
    apart = {each for each in released if each[0] != 0}
    choices = (
        apart & binding
        or {each for each in apart if columns[each[0]] == columns[cell[0]]}
        or {each for each in apart if knowledge.overlap(each[0], cell[0])}
        or apart
        or released
    )
    return min(choices, key=lambda each: (columns[each[0]] != columns[cell[0]], int(sizes[each[0]]), each), default=None)
