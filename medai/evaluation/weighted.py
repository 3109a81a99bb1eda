"""Statistics under bootstrap weights: rank statistics, ratios of sums, their means.

A replicate draws patients with replacement. A `Statistic` takes the resulting weights of the cases, many replicates at
once. The ones made here can also read the drawn counts of the patients directly, as small integers: nothing is sorted
again, and no weight is spread over the cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Shaped
from scipy import sparse

from medai.core.error import MedaiError

Weights = Float64[np.ndarray, "n b"]  # a column a replicate, so that sums over cases run along whole rows
Counts = Int[np.ndarray, "p b"]  # how often each patient is drawn
Key = tuple[str, ...]  # e.g. (label, "rank"): names a statistic and its draws
Statistic = Callable[[Weights], Float64[np.ndarray, "b k"]]  # NaN where a replicate does not define it

# Sums of counts are held in 16 bits, which is what makes them fast: at most so many cases are summed at once, and none
# is drawn more often than MOST_DRAWN (above it the counts come in 32 bits).
CASES_IN_A_SUM = 1024
MOST_DRAWN = (2**15 - 1) // CASES_IN_A_SUM
RUNNING_AT_ONCE = 1 << 15  # running sums in memory at a time: 256 kB, so that they stay in the cache


class GroupSums:
    """Weights of cases summed by group, and running over the groups."""

    def __init__(self, patient: Int[np.ndarray, " m"], size: Int64[np.ndarray, " g"], patients: int) -> None:
        """Prepare the sums.

        Args:
            patient: Of each case, as the row of the counts; group after group.
            size: Cases in each group.
            patients: Rows of the counts.
        """
        stop = np.cumsum(size)
        long = np.flatnonzero(size > CASES_IN_A_SUM)
        inside = [np.arange(stop[group] - size[group] + CASES_IN_A_SUM, stop[group], CASES_IN_A_SUM) for group in long]
        cuts = np.unique(np.concatenate([stop, *inside]))
        self.place = None if len(cuts) == len(stop) else np.searchsorted(cuts, stop)  # of each group's last part
        self.width = np.int32 if len(patient) < 2**31 // MOST_DRAWN else np.int64
        matrix: Any = sparse.csr_array((np.ones(len(patient), np.int16), patient, np.append(0, cuts)), shape=(len(cuts), patients))
        self.matrix = matrix

    def parts(self, counts: Shaped[np.ndarray, "p b"]) -> Shaped[np.ndarray, "s b"]:
        """Sums of parts of the groups, none of more than 1,024 cases."""
        return np.asarray(self.matrix @ counts)

    def running(self, parts: Shaped[np.ndarray, "s b"]) -> Shaped[np.ndarray, "b g"]:
        """Sums over the first 1, 2, ... groups; whole numbers where the counts are."""
        running = np.cumsum(np.ascontiguousarray(parts.T), axis=1, dtype=self.width if parts.dtype.kind == "i" else np.float64)
        return running if self.place is None else np.take(running, self.place, axis=1)


class RankStatistic:
    """AUROC and average precision (k = 2) under weights; made by `rank_statistic`."""

    def __init__(self, score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> None:
        order = np.argsort(-score, kind="stable")
        ranked, truth, self.rows = score[order], target[order], rows[order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.zeros(0, np.int64)
        stops = np.append(starts[1:], len(ranked))[: len(starts)]
        tie = np.searchsorted(starts, np.flatnonzero(truth), side="right") - 1  # tie group of each positive
        held, positives = np.unique(tie, return_counts=True)
        self.positive = np.flatnonzero(truth)
        self.positives = positives.astype(np.int64)
        ends = stops[held]  # of the tie groups that hold a positive
        self.segments = np.diff(ends, prepend=0)  # cases up to each of them
        self.tail = np.array([len(ranked) - (ends[-1] if len(ends) else 0)])  # what follows the last
        self.mixed = np.flatnonzero(ends - starts[held] > positives)  # groups in which a negative is tied
        inside = [np.arange(starts[group], stops[group]) for group in held[self.mixed]]
        tied = np.concatenate(inside) if inside else np.zeros(0, np.int64)
        self.tied = tied[~truth[tied]]
        self.ties = (ends - starts[held] - positives)[self.mixed].astype(np.int64)

    def __call__(self, weights: Weights) -> Float64[np.ndarray, "b k"]:
        """The statistic under weights of the cases."""
        return self.prepare(np.arange(len(weights)), len(weights))(weights)

    def prepare(self, cluster: Int64[np.ndarray, " n"], patients: int) -> Callable[[Shaped[np.ndarray, "p b"]], Float64[np.ndarray, "b k"]]:
        """The statistic as a function of the counts of patients.

        Only the tie groups that hold a positive are looked at one by one; the weight between two of them is summed at once.

        Args:
            cluster: Patient of each case of the table.
            patients: How many there are.
        """
        patient = cluster[self.rows].astype(np.int32)
        groups = (
            (patient[: self.segments.sum()], self.segments),
            (patient[self.positive], self.positives),
            (patient[len(patient) - self.tail[0] :], self.tail),
            (patient[self.tied], self.ties),
        )
        sums = [GroupSums(of_group, size, patients) for of_group, size in groups if len(size) and size.sum()]
        rows_at_once = max(1, RUNNING_AT_ONCE // max(1, len(self.positives)))

        def statistic(counts: Shaped[np.ndarray, "p b"]) -> Float64[np.ndarray, "b k"]:
            drawn = np.full((counts.shape[1], 2), np.nan)
            if len(self.positives):
                parts = [each.parts(counts) for each in sums]
                for start in range(0, len(drawn), rows_at_once):
                    chosen = slice(start, start + rows_at_once)
                    drawn[chosen] = self._areas(*(each.running(part[:, chosen]) for each, part in zip(sums, parts, strict=True)))
            return drawn

        return statistic

    def _areas(
        self, called: Shaped[np.ndarray, "b g"], true: Shaped[np.ndarray, "b g"], *rest: Shaped[np.ndarray, "b _"]
    ) -> Float64[np.ndarray, "b k"]:
        """AUROC and average precision from the cases called positive, and the true ones, with each group that holds a positive."""
        positive = true.astype(np.float64)
        positive[:, 1:] -= true[:, :-1]
        above = np.einsum(
            "bg,bg->b", positive, np.subtract(called, true, dtype=np.float64)
        )  # pairs whose negative scores as high or higher
        if len(self.mixed):
            tied = np.diff(rest[-1], axis=1, prepend=0)
            above -= np.einsum("bg,bg->b", positive[:, self.mixed], tied) / 2
        positives = true[:, -1].astype(np.float64)
        negatives = called[:, -1] - positives + (rest[0][:, -1] if self.tail[0] else 0)
        called = np.maximum(called, 1 if called.dtype.kind == "i" else 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            area = (positives * negatives - above) / (positives * negatives)
            precision = np.einsum("bg,bg->b", positive, np.divide(true, called)) / positives
        return np.stack([area, precision], axis=1)


class RatioStatistic:
    """Ratios of weighted sums; made by `ratio_statistic`."""

    def __init__(
        self, numerator: Float[np.ndarray, "m k"], denominator: Float[np.ndarray, "m k"], rows: Int64[np.ndarray, " m"], n: int
    ) -> None:
        if numerator.shape != denominator.shape or len(numerator) != len(rows) or int(rows.max(initial=-1)) >= n:
            raise MedaiError(
                f"a ratio needs parts of equal shape and their rows below {n}, "
                f"got {numerator.shape}, {denominator.shape} and {len(rows)} rows up to {int(rows.max(initial=-1))}"
            )
        self.rows, self.numerator, self.denominator = rows, numerator, denominator

    def __call__(self, weights: Weights) -> Float64[np.ndarray, "b k"]:
        """The statistic under weights of the cases."""
        known = weights[self.rows].T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((known @ self.numerator) / (known @ self.denominator))

    def sums(
        self, cluster: Int64[np.ndarray, " n"], patients: int
    ) -> tuple[list[Float64[np.ndarray, " p"]], list[Float64[np.ndarray, " p"]]]:
        """Both parts of each ratio, summed by patient."""
        patient = cluster[self.rows]
        above, below = (
            [np.bincount(patient, weights=column, minlength=patients) for column in part.T] for part in (self.numerator, self.denominator)
        )
        return above, below


class Summer:
    """Sums of weights by group; made by `summer`."""

    def __init__(self, group: Int64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> None:
        self.order, self.rows = np.argsort(group, kind="stable"), rows
        self.size = np.bincount(group).astype(np.int64) if len(group) else np.zeros(0, dtype=np.int64)
        count = int(rows.max(initial=-1)) + 1
        matrix: Any = sparse.csr_array((np.ones(len(rows)), (group, rows)), shape=(len(self.size), count))
        self.matrix, self.count = matrix, count

    def __call__(self, weights: Weights) -> Float64[np.ndarray, "b g"]:
        """The sums of the weights of the cases."""
        return np.ascontiguousarray((self.matrix @ weights[: self.count]).T)

    def prepare(self, cluster: Int64[np.ndarray, " n"], patients: int) -> Callable[[Shaped[np.ndarray, "p b"]], Float64[np.ndarray, "b g"]]:
        """The sums as a function of the counts of patients; arguments as in `RankStatistic.prepare`."""
        present = np.flatnonzero(self.size)
        sums = GroupSums(cluster[self.rows[self.order]].astype(np.int32), self.size[present], patients) if len(present) else None

        def statistic(counts: Shaped[np.ndarray, "p b"]) -> Float64[np.ndarray, "b g"]:
            found = np.zeros((counts.shape[1], len(self.size)))
            if sums is not None:
                found[:, present] = np.diff(sums.running(sums.parts(counts)), axis=1, prepend=0)
            return found

        return statistic


@dataclass(frozen=True)
class DerivedStatistic:
    """What follows from other statistics; made by `derived` and `macro`."""

    parts: tuple[Statistic, ...]
    finish: Callable[..., Float64[np.ndarray, "b k"]]

    def __call__(self, weights: Weights) -> Float64[np.ndarray, "b k"]:
        """The statistic under weights of the cases."""
        return self.finish(*(part(weights) for part in self.parts))


def rank_statistic(score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Statistic:
    """AUROC and average precision (k = 2) under weights, ties counted half.

    Args:
        score: (m,) of the known cases, higher means more likely positive.
        target: (m,) truth of the known cases.
        rows: (m,) where the known cases lie among all n.

    Example:
        >>> rank_statistic(np.array([0.1, 0.9]), np.array([False, True]), np.arange(2))(np.ones((2, 1)))
        array([[1., 1.]])
    """
    return RankStatistic(score, target, rows)


def ratio_statistic(
    numerator: Shaped[np.ndarray, "m *k"], denominator: Shaped[np.ndarray, "m *k"], rows: Int64[np.ndarray, " m"], n: int
) -> Statistic:
    """Ratios of weighted sums, NaN where the denominator is 0; all that are drawn together share one matrix product.

    Args:
        numerator: (m,) or (m, k), one column a ratio, e.g. `called & truth` for the sensitivity.
        denominator: Of the same shape, e.g. `truth`.
        rows: (m,) where these cases lie among all n.
        n: Number of all cases.

    Raises:
        MedaiError: the shapes do not match.

    Example:
        >>> called, truth = np.array([True, False, True]), np.array([True, True, False])
        >>> ratio_statistic(called & truth, truth, np.arange(3), 3)(np.array([[1.0], [3.0], [1.0]]))  # sensitivity
        array([[0.25]])
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (numerator, denominator)]
    above, below = (part[:, None] if part.ndim == 1 else part for part in parts)
    return RatioStatistic(above, below, rows, n)


def mean_statistic(value: Float64[np.ndarray, "m k"], rows: Int64[np.ndarray, " m"], n: int) -> Statistic:
    """Weighted means of k values a case, e.g. squared errors.

    Args:
        value: (m, k) of the known cases.
        rows: (m,) where they lie among all n.
        n: Number of all cases.
    """
    values = np.asarray(value, dtype=np.float64)
    return RatioStatistic(values, np.broadcast_to(1.0, values.shape), rows, n)


def derived(statistics: Sequence[Statistic], finish: Callable[..., Float64[np.ndarray, "b k"]]) -> Statistic:
    """A statistic that follows from others in each replicate, e.g. F1 from sums: as fast as they are.

    Args:
        statistics: Of `summer`, `rank_statistic`, `ratio_statistic`, `mean_statistic`, or any.
        finish: Takes what they give for b replicates, one argument a statistic, and gives (b, k).

    Example:
        >>> counts = summer(np.array([0, 1, 1]), np.arange(3))
        >>> derived([counts], lambda found: found[:, 1:] / found.sum(axis=1, keepdims=True))(np.ones((3, 1)))
        array([[0.66666667]])
    """
    return DerivedStatistic(tuple(statistics), finish)


def macro(statistics: Sequence[Statistic]) -> Statistic:
    """The mean of several statistics; undefined where one of them is."""
    return derived(statistics, lambda *drawn: np.asarray(np.mean(drawn, axis=0)))


def summer(group: Int64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Statistic:
    """A function that sums the weights of the cases at `rows` by `group` (codes from 0), for many replicates at once.

    Args:
        group: (m,) of each case.
        rows: (m,) where these cases lie among all n.

    Returns:
        A statistic with a column a group, up to the highest code.
    """
    return Summer(group, rows)
