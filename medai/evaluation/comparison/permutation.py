"""The permutation test of two models on the same cases: their outputs change places, patient by patient.

Where the models are equally good and alike, it does not matter which output came from which. A swap is written as weights
over the outputs of both models, stacked: of a case one output counts for the first model and the other for the second. So
every statistic of the bootstrap is a statistic of this test, and nothing is sorted twice.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Float64, Int64

from medai.core.draw import generator
from medai.core.error import MedaiError
from medai.evaluation.bootstrap import Key, Statistic

OUTPUTS_AT_ONCE = 1 << 19
ROUNDING = 1e-12


def permutation_differences(
    statistics: Mapping[Key, Statistic], cluster: Int64[np.ndarray, " n"], replicates: int, seed: int
) -> dict[Key, Float64[np.ndarray, "r k"]]:
    """The differences, first minus second, under random swaps, of several statistics on the same swaps.

    Args:
        statistics: Over 2n rows: the first model's outputs, then the second's in the same order of cases.
        cluster: Patient of each case, codes 0 .. P-1; all cases of a patient are swapped together.
        replicates: Number of swaps. Where there are no more than so many in all (2 to the power of P), each is made once.
        seed: A swap depends on (seed, its number) alone.

    Raises:
        MedaiError: there are no cases.
    """
    if len(cluster) == 0:
        raise MedaiError("a permutation test needs cases, got none")
    if replicates == 0 or not statistics:
        return {}
    parts: dict[Key, list[Float64[np.ndarray, "b k"]]] = {key: [] for key in statistics}
    for swapped in _swaps(cluster, replicates, seed):
        kept = 1.0 - swapped
        first, second = np.concatenate([kept, swapped]), np.concatenate([swapped, kept])
        for key, statistic in statistics.items():
            parts[key].append(statistic(first) - statistic(second))
    return {key: np.concatenate(part) for key, part in parts.items()}


def permutation_p(observed: float, differences: Float[np.ndarray, " r"], *, exhaustive: bool) -> float:
    """Two-sided p-value: the share of swaps that differ as much as what was observed.

    Args:
        observed: First minus second, as it is.
        differences: From `permutation_differences`.
        exhaustive: Whether they are all there are; of random ones the observed is counted as one more, so that p is never 0
            (Phipson and Smyth 2010).
    """
    as_much = int((np.abs(differences) >= abs(observed) - ROUNDING).sum())
    return as_much / len(differences) if exhaustive else (as_much + 1) / (len(differences) + 1)


def exhaustive(cluster: Int64[np.ndarray, " n"], replicates: int) -> bool:
    """Whether all swaps are made once, since there are no more than `replicates`."""
    return (1 << min(int(cluster.max(initial=-1)) + 1, 63)) <= replicates


def _swaps(cluster: Int64[np.ndarray, " n"], replicates: int, seed: int) -> Iterator[Float64[np.ndarray, "n b"]]:
    patients = int(cluster.max()) + 1
    everything = exhaustive(cluster, replicates)
    count = 1 << patients if everything else replicates
    columns = max(1, OUTPUTS_AT_ONCE // (2 * len(cluster)))
    for start in range(0, count, columns):
        numbers = range(start, min(start + columns, count))
        if everything:
            bits = np.array([[number >> patient & 1 for number in numbers] for patient in range(patients)], dtype=np.float64)
        else:
            bits = np.stack([generator(seed, 0, number, "permutation").integers(0, 2, patients) for number in numbers], axis=1)
        yield np.ascontiguousarray(bits[cluster], dtype=np.float64)
