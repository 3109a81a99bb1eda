"""Somebody without the labels who submits again and again, and learns from what is released: what that gains, with the Ladder and without.

The attacker holds a candidate, may submit any scores, and adds to them whatever seemed to help. All that is added is drawn without
the labels, so that it is noise on new cases: every gain on the sealed ones is false.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import ndtri

from medai.core.draw import generator
from medai.evaluation.auroc import auroc
from medai.seal.ladder import climb
from medai.seal.suppression import DIGITS

STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 1000.0)  # of what was learned, against the candidate: tried at the end


@dataclass(frozen=True)
class Outcome:
    """How an attack ended.

    Attributes:
        first: What was released of the honest candidate.
        told: The best figure that was released in the end.
        exact_first: AUROC of the honest candidate on the sealed cases.
        exact: AUROC there of the submission that was released last.
        releases: How often a new figure was released.
    """

    first: float
    told: float
    exact_first: float
    exact: float
    releases: int

    @property
    def gain(self) -> float:
        """The false gain: of the released figure, or of the AUROC behind it, whichever is more."""
        return max(self.told - self.first, self.exact - self.exact_first)


class SealedOracle:
    """A sealed test set as a submitter sees it.

    Args:
        truth: The sealed labels.
        eta: Of the Ladder; None releases every figure.
    """

    def __init__(self, truth: Bool[np.ndarray, " n"], eta: float | None) -> None:
        self.truth, self.eta = truth, eta
        self.told: list[float] = []
        self.exact: list[float] = []  # of the submission behind the best figure
        self.best: float | None = None
        self.releases = 0

    def __call__(self, score: Float64[np.ndarray, " n"]) -> float:
        value = auroc(score, self.truth).value
        if self.eta is None:
            better, told = self.best is None or value > self.best, round(value, DIGITS)
            self.best, self.releases = max(told, self.best or 0.0), self.releases + 1
        else:
            step = climb(self.best, value, self.eta, self.exact[-1] if self.exact else None)
            better, told = step.released, step.best
            self.best, self.releases = step.best, self.releases + step.released
        self.told.append(told)
        if better:
            self.exact.append(value)
        return told

    def outcome(self) -> Outcome:
        """What all submissions so far came to."""
        assert self.best is not None
        return Outcome(self.told[0], self.best, self.exact[0], self.exact[-1], self.releases)


def facility(cases: int, prevalence: float, area: float, seed: int) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Sealed labels, and an honest candidate's scores of the AUROC `area` (binormal; 0.5 knows nothing)."""
    random = generator(seed, 0, 0, "facility")
    truth = np.zeros(cases, dtype=bool)
    truth[: round(cases * prevalence)] = True
    return truth, random.normal(size=cases) + truth * np.sqrt(2) * ndtri(area)


def probe(oracle: SealedOracle, score: Float64[np.ndarray, " n"], submissions: int, seed: int, blocks: bool = False) -> Outcome:
    """Boosting (Blum and Hardt 2015, section 4): ask for random changes, and add them up by how much better each was told to be.

    The last submissions add the sum with different strengths. Where every figure is released, a change that was told to be worse than
    the usual one is taken with the other sign; on the Ladder only a release says anything.

    Args:
        oracle: The sealed test set.
        score: The honest candidate's.
        submissions: How many in all.
        seed: Of the changes.
        blocks: Raise sets of cases in place of random changes of all: the straight way at the labels.
    """
    oracle(score)
    probes = submissions - 1 - len(STRENGTHS)
    order = generator(seed, 0, 0, "attack/blocks").permutation(len(score))

    def change(turn: int) -> Float64[np.ndarray, " n"]:
        if not blocks:
            return generator(seed, turn, 0, "attack").normal(size=len(score))
        raised = np.zeros(len(score))
        raised[order[turn::probes]] = 2.0
        return raised

    told = np.array([oracle(score + 0.5 * change(turn)) for turn in range(probes)])
    weight = told - np.median(told)
    learned = np.sum([weight[turn] * change(turn) for turn in np.flatnonzero(weight).tolist()], axis=0) if weight.any() else change(0)
    for strength in STRENGTHS:
        oracle(score + strength * learned / np.std(learned))
    return oracle.outcome()


def probe_blocks(oracle: SealedOracle, score: Float64[np.ndarray, " n"], submissions: int, seed: int) -> Outcome:
    """As `probe`, with blocks of cases."""
    return probe(oracle, score, submissions, seed, blocks=True)


def climb_hill(oracle: SealedOracle, score: Float64[np.ndarray, " n"], submissions: int, seed: int) -> Outcome:
    """Hill climbing: change the best submission, and keep the change where a better figure is released."""
    best, current = oracle(score), score
    for turn in range(submissions - 1):
        random = generator(seed, turn, 0, "attack")
        trial = current + random.choice([0.05, 0.1, 0.2, 0.4, 1.0]) * random.normal(size=len(score))
        told = oracle(trial)
        if told > best:
            current, best = trial, told
    return oracle.outcome()


Attack = Callable[[SealedOracle, Float64[np.ndarray, " n"], int, int], Outcome]
ATTACKS: dict[str, Attack] = {"boosting": probe, "blocks": probe_blocks, "hill climbing": climb_hill}
