"""Who is drawn: counts of the patients in each replicate, or in each leave-one-out; strata."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16, Int64

from medai.core.draw import generator
from medai.core.error import MedaiError

MOST_LEFT_OUT = 500  # leave-outs of a jackknife; more patients than that are left out some at a time


@dataclass(frozen=True)
class Population:
    """The patients that a resample is drawn from.

    Attributes:
        cluster: (n,) patient of each case, codes 0 .. patients-1.
        patients: How many there are.
        members: The patients of each stratum, ascending; one stratum holds them all where nothing is stratified.
    """

    cluster: Int64[np.ndarray, " n"]
    patients: int
    members: tuple[Int64[np.ndarray, " p"], ...]

    @staticmethod
    def of(cluster: Int64[np.ndarray, " n"], strata: Int64[np.ndarray, " n"] | None = None) -> "Population":
        """Take the patients apart by stratum.

        Args:
            cluster: (n,) patient of each case as codes from 0.
            strata: (n,) stratum of each case, the same for all cases of a patient; None for one stratum.

        Raises:
            MedaiError: a patient lies in two strata, or the lengths differ.
        """
        patients = int(cluster.max(initial=-1)) + 1
        if strata is None:
            return Population(cluster, patients, (np.arange(patients),))
        if len(strata) != len(cluster):
            raise MedaiError(f"strata need one value a case, got {len(strata)} for {len(cluster)} cases")
        of_patient = np.zeros(patients, dtype=np.int64)
        of_patient[cluster] = strata
        torn = np.flatnonzero(of_patient[cluster] != strata)
        if len(torn):
            raise MedaiError(f"patient {cluster[torn[0]]} lies in two strata; give all cases of a patient the same, e.g. by event_strata")
        present = np.unique(cluster)
        return Population(cluster, patients, tuple(present[of_patient[present] == stratum] for stratum in np.unique(strata)))


def event_strata(cluster: Int64[np.ndarray, " n"], event: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Two strata of whole patients: 1 for the cases of a patient with any event, else 0.

    Drawn within them, every replicate holds as many patients with an event as the data do. Intervals are then conditional
    on that number, as in a study that chose its patients by outcome; where patients came as they come (a cohort), the
    intervals of whatever depends on the prevalence (Brier score, average precision, predictive values) are too narrow
    with strata, and the draw should do without them.

    Args:
        cluster: (n,) patient of each case as codes from 0.
        event: (n,) whether the case has an event of any label.

    Example:
        >>> event_strata(np.array([0, 0, 1]), np.array([True, False, False]))
        array([1, 1, 0])
    """
    return np.asarray((np.bincount(cluster, weights=event) > 0)[cluster], dtype=np.int64)


def drawn_counts(population: Population, replicates: Sequence[int], seed: int) -> Int16[np.ndarray, "p b"]:
    """How often each patient is drawn in some replicates, with replacement, within the strata.

    A replicate depends on (seed, its number) alone.
    """
    drawn = np.empty((len(replicates), population.patients), dtype=np.int16)
    for row, replicate in enumerate(replicates):
        random = generator(seed, 0, replicate, "bootstrap")
        picks = [members[random.integers(0, len(members), len(members))] for members in population.members]
        drawn[row] = np.bincount(np.concatenate(picks), minlength=population.patients)
    return np.ascontiguousarray(drawn.T)


@dataclass(frozen=True)
class LeaveOut:
    """Which patients each leave-one-out of a jackknife is without.

    Attributes:
        group: (p,) number of the leave-out that a patient is missing from.
        stratum: (g,) stratum of each leave-out.
    """

    group: Int64[np.ndarray, " p"]
    stratum: Int64[np.ndarray, " g"]

    @staticmethod
    def of(population: Population, seed: int, most: int = MOST_LEFT_OUT) -> "LeaveOut":
        """One patient at a time, or with more than `most` patients random groups of them within the strata."""
        group, stratum = np.zeros(population.patients, dtype=np.int64), list[int]()
        for code, members in enumerate(population.members):
            share = most * len(members) // max(1, population.patients)
            groups = min(len(members), max(2, share) if population.patients > most else len(members))
            order = generator(seed, 0, code, "jackknife").permutation(len(members))
            group[members[order]] = len(stratum) + np.arange(len(members)) % max(1, groups)
            stratum += [code] * groups
        return LeaveOut(group, np.array(stratum, dtype=np.int64))

    def counts(self, numbers: Sequence[int]) -> Int16[np.ndarray, "p b"]:
        """1 for the patients that stay in each of some leave-outs, else 0."""
        return np.asarray(self.group[:, None] != np.asarray(numbers), dtype=np.int16)
