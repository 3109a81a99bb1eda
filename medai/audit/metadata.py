"""How far the labels can be told from what is known of a case without its image: a network may learn that in place of the disease."""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.audit.association import codes
from medai.core.draw import generator
from medai.core.label import Label
from medai.evaluation.auroc import absent_class, auroc_figure
from medai.evaluation.bootstrap import bootstrap, bootstrap_figure, rank_statistic
from medai.evaluation.figure import Figure, missing
from medai.evaluation.patient import patients_of

FOLDS = 5
LEVELS = 32  # of a column, the most frequent; the rest are one more
RIDGE = 1.0
STEPS = 25
REPLICATES = 500
METHOD = f"ridge logistic regression on one-hot metadata, {FOLDS} folds by patient, scores pooled"


def metadata_auroc(cases: pl.DataFrame, labels: list[Label], columns: list[str], seed: int = 0) -> list[dict[str, Any]]:
    """The AUROC that metadata alone reach, of every class (of a binary label: the positive one).

    Args:
        cases: `patient_id`, the columns, and a column a label.
        labels: Their definitions.
        columns: Categories, null = missing, which is a category of its own.
        seed: Of the folds and the bootstrap.
    """
    found = []
    for label in labels:
        known = cases.filter(pl.col(label.name).is_not_null())
        group = patients_of(known)
        fold = generator(seed, 0, 0, "audit/fold").permutation(group.count)[group.cluster] % FOLDS
        truth = known[label.name].to_numpy()
        for index in range(1 if label.kind == "binary" else 0, len(label.classes)):
            figure = _figure(known, columns, np.equal(truth, index), fold, seed)
            found.append({"label": label.name, "class": label.classes[index], **figure.to_dict(), "model": METHOD})
    return found


def _figure(known: pl.DataFrame, columns: list[str], target: Bool[np.ndarray, " n"], fold: Int64[np.ndarray, " n"], seed: int) -> Figure:
    reason = absent_class(target)
    if reason or not columns:
        return missing(len(target), METHOD, reason or "no metadata with two values")
    patients = patients_of(known)
    if min(patients.distinct(target), patients.distinct(~target)) < FOLDS:
        return missing(len(target), METHOD, f"fewer than {FOLDS} patients in a class")
    score = out_of_fold(known.select(columns), target, fold)
    figure = auroc_figure(score, target)
    if not patients.repeat or figure.value is None:
        return figure
    rows = np.arange(len(target))
    draws = bootstrap(patients.cluster, {("rank",): rank_statistic(score, target, rows)}, REPLICATES, seed)
    return bootstrap_figure(figure.value, len(target), draws[("rank",)][:, 0], clustered=True, patients=patients.count)


def one_hot(category: Int64[np.ndarray, "n c"]) -> Float64[np.ndarray, "n k"]:
    """A column a category of each column, less those beyond the 32 most frequent."""
    parts = []
    for code in category.T:
        count = np.bincount(code)
        common = np.argsort(-count, kind="stable")[:LEVELS]
        common = np.sort(common[count[common] > 0])
        parts.append((code[:, None] == common).astype(np.float64))
    return np.concatenate(parts, axis=1)


def out_of_fold(table: pl.DataFrame, target: Bool[np.ndarray, " n"], fold: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Each case's score by a model that was fitted without its fold. Equal rows are fitted as one, with their number as weight."""
    category = np.stack([codes(series) + 1 for series in table], axis=1)  # 0 is missing
    distinct, row = np.unique(category, axis=0, return_inverse=True)
    features, score = one_hot(distinct), np.zeros(len(target))
    for left_out in np.unique(fold):
        inside = fold != left_out
        count = np.bincount(row[inside], minlength=len(distinct)).astype(np.float64)
        positive = np.bincount(row[inside], weights=target[inside], minlength=len(distinct))
        weight = fit_logistic(features, positive, count)
        score[~inside] = (features @ weight[1:] + weight[0])[row[~inside]]
    return score


def fit_logistic(
    features: Float64[np.ndarray, "m k"], positive: Float64[np.ndarray, " m"], count: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, " k_plus_1"]:
    """Intercept and weights of a ridge logistic regression, by Newton's method (iteratively reweighted least squares).

    Args:
        features: A row a distinct kind of case.
        positive: How many of its cases are positive.
        count: How many cases it has.
    """
    design = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1e-9  # the intercept is free
    weight = np.zeros(design.shape[1])
    weight[0] = np.log((positive.sum() + 0.5) / (count.sum() - positive.sum() + 0.5))
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weight, -30, 30)))
        slope = design.T @ (positive - count * chance) - penalty @ weight
        curvature = (design * (count * chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, slope)
        weight += step
        if np.abs(step).max() < 1e-8:
            break
    return weight
