"""The bootstrap and the jackknife over patients, by weights: every replicate re-weights the cases, nothing is sorted twice."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int, Int64

from medai.evaluation.bca import bca_interval
from medai.evaluation.figure import CONFIDENCE, Figure
from medai.evaluation.resample import LeaveOut, Population, drawn_counts, event_strata
from medai.evaluation.weighted import (
    MOST_DRAWN,
    DerivedStatistic,
    Key,
    RankStatistic,
    RatioStatistic,
    Statistic,
    Summer,
    Weights,
    derived,
    macro,
    mean_statistic,
    rank_statistic,
    ratio_statistic,
    summer,
)

__all__ = [
    "Jackknife", "Key", "Statistic", "Weights", "bootstrap", "bootstrap_figure", "cluster_weights", "derived", "event_strata",
    "jackknife", "macro", "mean_statistic", "rank_statistic", "ratio_statistic", "summer",
]  # fmt: skip

COUNTS_AT_ONCE = 1 << 22  # counts of patients in memory at a time and thread: 8 MB
COLUMNS = (8, 64)  # replicates at a time; 64 counts of 16 bits are two cache lines, the step of a random access
WEIGHTS_AT_ONCE = 1 << 19  # weights of cases that a statistic is handed at a time: 4 MB, so that they stay in the cache
TILE = 64
MOST_THREADS = 4
LEAST_DEFINED = 0.5

Draw = Callable[[Sequence[int]], Int[np.ndarray, "p b"]]


@dataclass(frozen=True)
class Jackknife:
    """Statistics without each patient, or with many patients without each of some hundred random groups of them.

    Attributes:
        values: (g, k) by key.
        stratum: (g,) stratum of what was left out.
    """

    values: Mapping[Key, Float64[np.ndarray, "g k"]]
    stratum: Int64[np.ndarray, " g"]


@dataclass
class Block:
    """Some replicates: how often each patient counts, in the forms that statistics read."""

    counts: Int[np.ndarray, "p b"]
    cluster: Int64[np.ndarray, " n"]
    columns: Float64[np.ndarray, "c p"]

    @cached_property
    def sums(self) -> Float64[np.ndarray, "c b"]:
        """The sums of all ratios, in one product."""
        return _product(self.columns, self.counts)

    @cached_property
    def weights(self) -> list[Weights]:
        """The weights of the cases, some replicates at a time."""
        width = max(1, WEIGHTS_AT_ONCE // len(self.cluster))
        parts = [self.counts[:, start : start + width] for start in range(0, self.counts.shape[1], width)]
        return [np.ascontiguousarray(part)[self.cluster].astype(np.float64) for part in parts]


Kernel = Callable[[Block], Float64[np.ndarray, "b k"]]


class Plan:
    """Statistics made ready for the patients of a table. Sums that several of them need are formed once."""

    def __init__(self, population: Population, statistics: Mapping[Key, Statistic]) -> None:
        self.population = population
        self._columns: list[Float64[np.ndarray, " p"]] = []
        self._places: dict[bytes, int] = {}
        self.kernels = {key: self._kernel(statistic) for key, statistic in statistics.items()}
        self.columns = np.array(self._columns).reshape(len(self._columns), population.patients)
        self._columns.clear()

    def __call__(self, counts: Int[np.ndarray, "p b"]) -> list[Float64[np.ndarray, "b k"]]:
        """All statistics for some replicates."""
        if int(counts.max(initial=0)) > MOST_DRAWN:
            counts = counts.astype(np.int32)
        block = Block(counts, self.population.cluster, self.columns)
        return [kernel(block) for kernel in self.kernels.values()]

    def _kernel(self, statistic: Statistic) -> Kernel:
        if isinstance(statistic, RankStatistic | Summer):
            counted = statistic.prepare(self.population.cluster, self.population.patients)
            return lambda block: counted(block.counts)
        if isinstance(statistic, RatioStatistic):
            parts = statistic.sums(self.population.cluster, self.population.patients)
            above, below = ([self._place(column) for column in part] for part in parts)
            return lambda block: _divide(block.sums[above].T, block.sums[below].T)
        if isinstance(statistic, DerivedStatistic):
            kernels, finish = [self._kernel(part) for part in statistic.parts], statistic.finish
            return lambda block: finish(*(kernel(block) for kernel in kernels))
        return lambda block: np.concatenate([statistic(weights) for weights in block.weights])

    def _place(self, column: Float64[np.ndarray, " p"]) -> int:
        place = self._places.setdefault(column.tobytes(), len(self._columns))
        if place == len(self._columns):
            self._columns.append(column)
        return place


def _product(columns: Float64[np.ndarray, "c p"], counts: Int[np.ndarray, "p b"]) -> Float64[np.ndarray, "c b"]:
    """`columns @ counts` in tiles: they stay in the cache, and are too small for BLAS to start threads of its own beside ours."""
    total = np.zeros((len(columns), counts.shape[1]))
    for start in range(0, len(counts), TILE * TILE):
        drawn = counts[start : start + TILE * TILE].astype(np.float64)
        whole = len(drawn) // TILE * TILE
        stacked = drawn[:whole].reshape(-1, TILE, drawn.shape[1])
        for top in range(0, len(columns), TILE):
            part = columns[top : top + TILE, start : start + len(drawn)]
            tiles = part[:, :whole].reshape(len(part), -1, TILE).transpose(1, 0, 2)
            total[top : top + TILE] += (tiles @ stacked).sum(axis=0) + part[:, whole:] @ drawn[whole:]
    return total


def _divide(above: Float64[np.ndarray, "b k"], below: Float64[np.ndarray, "b k"]) -> Float64[np.ndarray, "b k"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def bootstrap(
    cluster: Int64[np.ndarray, " n"],
    statistics: Mapping[Key, Statistic],
    replicates: int,
    seed: int,
    strata: Int64[np.ndarray, " n"] | None = None,
    threads: int | None = None,
) -> dict[Key, Float64[np.ndarray, "replicates k"]]:
    """The replicates of several statistics on the same draws, so that their means and differences are paired.

    Patients are drawn whole, with replacement (Davison and Hinkley 1997, section 3.8). The result does not depend on `threads`.

    Args:
        cluster: (n,) patient of each case as codes 0 .. P-1.
        statistics: By key. Those made by this package's functions (`rank_statistic`, `ratio_statistic`, `mean_statistic`, `summer`, and
            `derived` and `macro` of these) are fast; any other function is handed float weights (n, b), from several threads at once.
        replicates: How many.
        seed: The evaluation's seed.
        strata: (n,) patients are drawn within these; see `event_strata`.
        threads: At most so many; by default one a core, at most 4.

    Returns:
        (replicates, k) by key; empty where there is nothing to draw.

    Raises:
        MedaiError: a patient lies in two strata.

    Example:
        >>> brier = mean_statistic(np.array([[0.1], [0.3]]), np.arange(2), 2)
        >>> bootstrap(np.array([0, 1]), {("brier",): brier}, 100, seed=0)[("brier",)].shape
        (100, 1)
    """
    if not statistics or replicates == 0 or len(cluster) == 0:
        return {}
    population = Population.of(cluster, strata)
    return _run(population, statistics, lambda numbers: drawn_counts(population, numbers, seed), replicates, threads)


def jackknife(
    cluster: Int64[np.ndarray, " n"],
    statistics: Mapping[Key, Statistic],
    seed: int,
    strata: Int64[np.ndarray, " n"] | None = None,
    threads: int | None = None,
) -> Jackknife:
    """The statistics without each patient, for the acceleration of BCa intervals.

    With more than 500 patients, random groups of patients are left out, about 500 in all: the acceleration is then known
    to about 0.001, where the intervals do not depend on it any more.

    Args:
        cluster: As in `bootstrap`, like the others.
        statistics: By key.
        seed: The evaluation's seed; it decides on the groups.
        strata: As in `bootstrap`.
        threads: As in `bootstrap`.
    """
    if not statistics or len(cluster) == 0:
        return Jackknife({}, np.zeros(0, dtype=np.int64))
    population = Population.of(cluster, strata)
    leave_out = LeaveOut.of(population, seed)
    return Jackknife(_run(population, statistics, leave_out.counts, len(leave_out.stratum), threads), leave_out.stratum)


def _run(
    population: Population, statistics: Mapping[Key, Statistic], draw: Draw, count: int, threads: int | None
) -> dict[Key, Float64[np.ndarray, "r k"]]:
    plan = Plan(population, statistics)
    width = int(np.clip(COUNTS_AT_ONCE // population.patients, *COLUMNS))
    blocks = [range(start, min(start + width, count)) for start in range(0, count, width)]
    with ThreadPoolExecutor(max(1, min(threads or min(os.cpu_count() or 1, MOST_THREADS), len(blocks)))) as pool:
        parts = list(pool.map(lambda numbers: plan(draw(numbers)), blocks))
    return {key: np.concatenate([part[place] for part in parts]) for place, key in enumerate(statistics)}


def cluster_weights(
    cluster: Int64[np.ndarray, " n"], replicates: int, seed: int, strata: Int64[np.ndarray, " n"] | None = None
) -> Iterator[Weights]:
    """The weights of the cases themselves, some replicates at a time: how often a case's patient was drawn.

    Args:
        cluster: (n,) patient of each case as codes 0 .. P-1.
        replicates: How many in all.
        seed: The evaluation's seed.
        strata: As in `bootstrap`.
    """
    population, width = Population.of(cluster, strata), max(1, WEIGHTS_AT_ONCE // len(cluster))
    for start in range(0, replicates, width):
        yield drawn_counts(population, range(start, min(start + width, replicates)), seed)[cluster].astype(np.float64)


def bootstrap_figure(
    value: float,
    n: int,
    replicates: Float64[np.ndarray, " r"] | None,
    *,
    clustered: bool,
    patients: int,
    confidence: float = CONFIDENCE,
    left_out: Float64[np.ndarray, " g"] | None = None,
    stratum: Int64[np.ndarray, " g"] | None = None,
) -> Figure:
    """A figure with the interval of its replicates; those that do not define it (no positive drawn) are left out.

    Args:
        value: The estimate on the cases themselves.
        n: Number of cases.
        replicates: (r,); None where none were drawn.
        clustered: Whether patients repeat, named in the method.
        patients: Number of independent units; below 2 there is no interval.
        confidence: Coverage.
        left_out: (g,) jackknife values: the interval is BCa then, or percentile where BCa is undefined, and the method says so.
        stratum: (g,) their strata.
    """
    who = f"bootstrap of {'patients' if clustered else 'cases'}"
    if replicates is None:
        return Figure(value, None, None, n, f"percentile {who}", "no replicates")
    defined = replicates[np.isfinite(replicates)]
    who += f", {len(replicates):,} replicates" + (f" ({len(defined):,} defined)" if len(defined) < len(replicates) else "")
    method = f"percentile {who}"
    if patients < 2 or len(defined) < LEAST_DEFINED * len(replicates):
        return Figure(value, None, None, n, method, "one patient" if patients < 2 else "too few replicates are defined")
    low, high = (float(end) for end in np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2]))
    if low == high:  # e.g. perfect separation: the bootstrap cannot say how sure that is
        return Figure(value, None, None, n, method, "all replicates are equal")
    if left_out is not None:
        corrected = bca_interval(value, defined, left_out, stratum, confidence)
        if corrected is not None and corrected.low < corrected.high:  # it may shrink to a point where many replicates are alike
            return Figure(value, corrected.low, corrected.high, n, f"BCa {who}")
        method += "; BCa is undefined here"
    return Figure(value, low, high, n, method)
