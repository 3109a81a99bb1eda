"""How often the intervals of an AUROC hold it with few events, near 1, with ties, and where patients repeat; used by coverage.py.

The tests that the intervals invert are made here for many test sets at once; on some sets of each scenario it is checked that the
interval of the package holds the truth exactly where its test does not reject it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logit, ndtr, ndtri, stdtrit

CHECKED = 20
Z = float(ndtri(0.975))
GRADES = np.array([-1.2, -0.4, 0.4, 1.2])  # cuts of the five-point scale, around the middle of the two means


@dataclass(frozen=True)
class Study:
    """Test sets of so many cases; of patients with 1 to 6 cases where `alike` is not None."""

    role: str
    shape: str
    auroc: float
    positives: int
    prevalence: float
    alike: float | None = None

    @property
    def negatives(self) -> int:
        return round(self.positives * (1 - self.prevalence) / self.prevalence)


def studies() -> Iterator[Study]:
    """Scenarios on which the interval was chosen, and those on which the choice was confirmed once."""
    yield from _alone("choice", ("equal", "unequal", "ties"), (0.6, 0.8, 0.9, 0.95, 0.98), (10, 36, 100), (0.05, 0.5))
    shapes = ("equal", "narrow", "unequal", "ties", "exponential")
    yield from _alone("confirmation", shapes, (0.6, 0.7, 0.8, 0.9, 0.95, 0.98), (10, 20, 50, 400), (0.05, 0.25, 0.5))
    yield from _repeated("choice", (0.8, 0.95, 0.98), (20, 40), (0.1, 0.5), (0.2, 0.7))
    yield from _repeated("confirmation", (0.7, 0.9, 0.95, 0.97), (15, 30, 60), (0.2, 0.5), (0.05, 0.5, 0.9))


def _alone(role: str, *axes: Sequence[Any]) -> Iterator[Study]:
    return (Study(role, *values) for values in product(*axes))


def _repeated(role: str, *axes: Sequence[Any]) -> Iterator[Study]:
    return (Study(role, *values) for values in product(("patients are ill", "cases are ill"), *axes))


def row_of(task: tuple[int, int]) -> dict[str, Any]:
    """Coverage of each method in one scenario: (its number, test sets)."""
    number, simulations = task
    study = list(studies())[number]
    random = np.random.default_rng([45, number])
    held, low = (_independent if study.alike is None else _clustered)(study, simulations, random)
    row = asdict(study) | {"negatives": study.negatives, "simulations": simulations, "separated": low, "coverage": held}
    return row | {"error": {name: math.sqrt(share * (1 - share) / simulations) for name, share in held.items()}}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each role, kind and method: scenarios below, within and above 93 to 97 %, and the extremes."""
    found = []
    for role, clustered in ((role, clustered) for clustered in (False, True) for role in ("choice", "confirmation")):
        some = [row for row in rows if row["role"] == role and (row["alike"] is not None) == clustered]
        for method in some[0]["coverage"] if some else ():
            share = np.array([row["coverage"][method] for row in some])
            found.append({
                "role": role, "patients_repeat": clustered, "method": method, "scenarios": len(share), "below": int((share < 0.93).sum()),
                "within": int(((share >= 0.93) & (share <= 0.97)).sum()), "above": int((share > 0.97).sum()),
                "lowest": float(share.min()), "highest": float(share.max()),
            })  # fmt: skip
    return found


def _independent(study: Study, simulations: int, random: np.random.Generator) -> tuple[dict[str, float], float]:
    from medai.evaluation.auroc import Auroc, auroc_interval

    m, n = study.positives, study.negatives
    value, one, other = (_ordinal if study.shape == "ties" else _continuous)(study, simulations, random)
    variance = one + other
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (one**2 / (m - 1) + other**2 / (n - 1))
    held = _held(study.auroc, value, variance, freedom, m, n, _newcombe(study.auroc, m, n))
    held["wald"] = np.where(_known(value, variance), np.abs(value - study.auroc) <= Z * np.sqrt(variance), held["score"])
    for i in range(min(CHECKED, simulations)):
        result = Auroc(float(value[i]), float(variance[i]), m, n, float(freedom[i]))
        for kind in held:
            low, high, _ = auroc_interval(result, kind=kind)
            assert (low <= study.auroc <= high) == held[kind][i], f"{study}: {low} to {high} is not the interval of the test"
    return {name: float(each.mean()) for name, each in held.items()}, float((value >= 1).mean())


def _clustered(study: Study, simulations: int, random: np.random.Generator) -> tuple[dict[str, float], float]:
    from medai.evaluation.auroc import Auroc
    from medai.evaluation.clustered import clustered_auroc, clustered_interval

    truth = study.auroc
    found: list[Auroc] = []
    members: list[list[int]] = []
    while len(found) < simulations:
        score, target, patient = _patients(study, random)
        both = [int(np.count_nonzero(np.bincount(patient[side]))) for side in (target, ~target)]
        if min(both) >= 2:
            found.append(clustered_auroc(score, target, patient))
            members.append(both)
    value, variance, freedom, effect, m, n = np.array(
        [(each.value, each.variance, each.freedom, each.effect, each.positives, each.negatives) for each in found], dtype=np.float64
    ).T
    ill, well = np.array(members).T
    held = _held(truth, value, variance, freedom, m, n, _newcombe(truth, ill, well), effect)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(logit(value) - logit(truth)) * value * (1 - value) / np.sqrt(variance)
    inside = apart <= stdtrit(np.minimum(ill, well) - 1, 0.975)
    held["wald"] = np.where(_known(value, variance), inside, held["score"])
    for i in range(min(CHECKED, simulations)):
        for kind in held:
            low, high, _ = clustered_interval(found[i], (int(ill[i]), int(well[i])), kind=kind)
            assert (low <= truth <= high) == held[kind][i], f"{study}: {low} to {high} is not the interval of the test"
    return {name: float(each.mean()) for name, each in held.items()}, float((value >= 1).mean())


def _held(truth: float, value: Any, variance: Any, freedom: Any, m: Any, n: Any, rare: Any, effect: Any = None) -> dict[Any, np.ndarray]:
    """Whether the score interval holds the truth; `rare` is Newcombe's variance, for sets that show none."""
    from medai.evaluation.auroc import PRIOR

    quantile = Z if effect is None else stdtrit(freedom + PRIOR, 0.975)
    with np.errstate(divide="ignore", invalid="ignore"):
        prior = PRIOR * (1 if effect is None else np.maximum(1, effect))
        scale = (freedom * variance / _hanley_mcneil(value, m, n) + prior) / (freedom + PRIOR)
        score = np.abs(value - truth) <= quantile * np.sqrt(scale * _hanley_mcneil(truth, m, n))
    return {"score": np.where(_known(value, variance), score, np.abs(value - truth) <= Z * np.sqrt(rare))}


def _known(value: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return (variance > 1e-15) & (value > 0) & (value < 1)


def _continuous(study: Study, simulations: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """AUROC and the two parts of DeLong's variance, from uniform negatives and the places of the positives among them."""
    m, n, parts = study.positives, study.negatives, []
    spread = {"narrow": 0.6, "unequal": 1.6}.get(study.shape, 1.0)
    apart = ndtri(study.auroc) * math.sqrt(1 + spread**2)
    for start in range(0, simulations, chunk := max(1, 4_000_000 // (m + n))):
        sets = min(chunk, simulations - start)
        row, negative = np.arange(sets)[:, None], np.sort(random.random((sets, n), dtype=np.float32), axis=1).astype(np.float64)
        if study.shape == "exponential":
            positive = random.random((sets, m)) ** ((1 - study.auroc) / study.auroc)
        else:
            positive = ndtr(apart + spread * random.standard_normal((sets, m)))
        place = np.searchsorted((row + negative).ravel(), (row + np.minimum(positive, 1 - 1e-9)).ravel()).reshape(sets, m) - row * n
        place = np.sort(place, axis=1).astype(np.float64)
        between = np.diff(place, axis=1, prepend=0.0, append=float(n))  # negatives with so many positives below
        above = 1 - np.arange(m + 1) / m
        middle = (between @ above)[:, None] / n
        spread_negative = (between * (above - middle) ** 2).sum(axis=1) / (n - 1) / n
        parts.append((place.mean(axis=1) / n, place.var(axis=1, ddof=1) / n**2 / m, spread_negative))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _ordinal(study: Study, simulations: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Likewise on a scale of five grades, of normal scores that are as far apart as the AUROC asks for."""
    m, n = study.positives, study.negatives
    apart = brentq(lambda d: _grades(d)[2] - study.auroc, 0, 12)
    of_negative, of_positive, _ = _grades(apart)
    positive, negative = random.multinomial(m, of_positive, simulations), random.multinomial(n, of_negative, simulations)
    place = (np.cumsum(negative, axis=1) - negative / 2) / n
    other = 1 - (np.cumsum(positive, axis=1) - positive / 2) / m
    value = (positive * place).sum(axis=1) / m
    spreads = [
        (count * (each - value[:, None]) ** 2).sum(axis=1) / (size - 1) / size
        for count, each, size in ((positive, place, m), (negative, other, n))
    ]
    return value, spreads[0], spreads[1]


def _grades(apart: float) -> tuple[np.ndarray, np.ndarray, float]:
    cuts = np.concatenate([[-np.inf], apart / 2 + GRADES, [np.inf]])
    negative, positive = np.diff(ndtr(cuts)), np.diff(ndtr(cuts - apart))
    return negative, positive, float(positive @ (np.cumsum(negative) - negative / 2))


def _patients(study: Study, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, truth and patient: `positives` is the number of ill patients, or where cases are ill that of patients times prevalence."""
    assert study.alike is not None
    count = round(study.positives / study.prevalence)
    patient = np.repeat(np.arange(count), random.integers(1, 7, count))
    if study.shape == "patients are ill":
        target = patient < study.positives
    else:
        shared, own = random.standard_normal(count), random.standard_normal(len(patient))
        target = (shared[patient] + own) / math.sqrt(2) < ndtri(study.prevalence / 2)
    shared, own = random.standard_normal(count), random.standard_normal(len(patient))
    score = ndtri(study.auroc) * math.sqrt(2) * target + math.sqrt(study.alike) * shared[patient] + math.sqrt(1 - study.alike) * own
    return score, target, patient


def _hanley_mcneil(area: Any, m: Any, n: Any) -> Any:
    of_positive, of_negative = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
    return (area * (1 - area) + (m - 1) * of_positive + (n - 1) * of_negative) / (m * n)


def _newcombe(area: float, m: Any, n: Any) -> Any:
    return area * (1 - area) * (1 + ((m + n) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n)
