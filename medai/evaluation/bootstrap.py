"""The bootstrap over patients, by weights: every replicate re-weights the cases, nothing is sorted twice."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy import sparse

from medai.core.draw import generator
from medai.evaluation.figure import CONFIDENCE, Figure

Weights = Float64[np.ndarray, "n b"]  # a column a replicate, so that sums over cases run along whole rows
Key = tuple[str, ...]  # e.g. (label, "rank"): names a statistic and its draws
Statistic = Callable[[Weights], Float64[np.ndarray, "b k"]]  # NaN where a replicate does not define it

WEIGHTS_AT_ONCE = 1 << 19  # in memory at a time: 4 MB, so that they stay in the cache
LEAST_DEFINED = 0.5


def cluster_weights(cluster: Int64[np.ndarray, " n"], replicates: int, seed: int) -> Iterator[Weights]:
    """Weights of the cases, some replicates at a time: how often a case's patient was drawn.

    A replicate depends on (seed, its number) alone.

    Args:
        cluster: Patient of each case as codes 0 .. P-1.
        replicates: How many in all.
        seed: The evaluation's seed.
    """
    patients = int(cluster.max()) + 1
    columns = max(1, WEIGHTS_AT_ONCE // len(cluster))
    for start in range(0, replicates, columns):
        drawn = np.empty((min(columns, replicates - start), len(cluster)))
        for row in range(len(drawn)):
            picks = generator(seed, 0, start + row, "bootstrap").integers(0, patients, patients)
            drawn[row] = np.bincount(picks, minlength=patients)[cluster]
        yield np.ascontiguousarray(drawn.T)


def bootstrap(
    cluster: Int64[np.ndarray, " n"], statistics: Mapping[Key, Statistic], replicates: int, seed: int
) -> dict[Key, Float64[np.ndarray, "replicates k"]]:
    """The replicates of several statistics on the same draws, so that their means and differences are paired."""
    if not statistics or replicates == 0 or len(cluster) == 0:
        return {}
    parts: dict[Key, list[Float64[np.ndarray, "b k"]]] = {name: [] for name in statistics}
    for weights in cluster_weights(cluster, replicates, seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    return {name: np.concatenate(part) for name, part in parts.items()}


def bootstrap_figure(
    value: float, n: int, replicates: Float64[np.ndarray, " r"] | None, *, clustered: bool, patients: int, confidence: float = CONFIDENCE
) -> Figure:
    """A figure with the percentile interval of its replicates; those that do not define it (no positive drawn) are left out.

    Args:
        value: The estimate on the cases themselves.
        n: Number of cases.
        replicates: None where none were drawn.
        clustered: Whether patients repeat, named in the method.
        patients: Number of independent units; below 2 there is no interval.
        confidence: Coverage.
    """
    method = f"percentile bootstrap of {'patients' if clustered else 'cases'}"
    if replicates is None:
        return Figure(value, None, None, n, method, "no replicates")
    defined = replicates[np.isfinite(replicates)]
    method += f", {len(replicates):,} replicates" + (f" ({len(defined):,} defined)" if len(defined) < len(replicates) else "")
    if patients < 2 or len(defined) < LEAST_DEFINED * len(replicates):
        return Figure(value, None, None, n, method, "one patient" if patients < 2 else "too few replicates are defined")
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    if low == high:  # e.g. perfect separation: the bootstrap cannot say how sure that is
        return Figure(value, None, None, n, method, "all replicates are equal")
    return Figure(value, float(low), float(high), n, method)


def rank_statistic(score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Statistic:
    """AUROC and average precision (k = 2) under weights.

    Only the tie groups that hold a positive are looked at one by one; the weight between two of them is summed at once.

    Args:
        score: Of the known cases.
        target: Truth of the known cases.
        rows: Where the known cases lie among all n.
    """
    order = np.argsort(-score, kind="stable")
    ranked, truth = score[order], target[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    tie = np.searchsorted(starts, np.flatnonzero(truth), side="right") - 1  # tie group of each positive
    held, group = np.unique(tie, return_inverse=True)
    begins, stops = starts[held], np.append(starts, len(ranked))[held + 1]
    edges = np.unique(np.concatenate([[0], begins, stops]))
    at = np.searchsorted(edges, begins)
    segment = np.searchsorted(edges, np.arange(len(ranked)), side="right") - 1

    sum_parts, sum_positives = summer(segment, rows[order]), summer(group, rows[order][truth])

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        if len(held) == 0:
            return np.full((weights.shape[1], 2), np.nan)
        part, positive = sum_parts(weights), sum_positives(weights)
        true, called = np.cumsum(positive, axis=1), np.cumsum(part, axis=1)
        positives, all_cases = true[:, -1], called[:, -1]
        above = np.take(called, at, axis=1)  # cases called positive with the group
        lower = (all_cases - positives)[:, None] - above + true  # negatives that score below it
        tied = np.take(part, at, axis=1) - positive
        with np.errstate(divide="ignore", invalid="ignore"):
            area = np.einsum("bg,bg->b", positive, lower + tied / 2) / (positives * (all_cases - positives))
            precision = np.einsum("bg,bg->b", positive, true / np.maximum(above, 1)) / positives
        return np.stack([area, precision], axis=1)

    return statistic


def summer(group: Int64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Callable[[Weights], Float64[np.ndarray, "b g"]]:
    """A function that sums the weights of the cases at `rows` by `group` (codes from 0), for many replicates at once."""
    groups, count = int(group.max(initial=-1)) + 1, int(rows.max(initial=-1)) + 1
    matrix = sparse.csr_array((np.ones(len(rows)), (group, rows)), shape=(groups, count))
    return lambda weights: np.ascontiguousarray((matrix @ weights[:count]).T)


def mean_statistic(value: Float64[np.ndarray, "m k"], rows: Int64[np.ndarray, " m"], n: int) -> Statistic:
    """Weighted means of k values a case, e.g. squared errors.

    Args:
        value: Of the known cases.
        rows: Where they lie among all n.
        n: Number of all cases.
    """
    full, known = np.zeros((n, value.shape[1])), np.zeros(n)
    full[rows], known[rows] = value, 1

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((weights.T @ full) / (weights.T @ known)[:, None])

    return statistic


def macro(statistics: list[Statistic]) -> Statistic:
    """The mean of several statistics; undefined where one of them is."""
    return lambda weights: np.mean([statistic(weights) for statistic in statistics], axis=0)
