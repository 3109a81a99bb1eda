"""The tables of several models brought to the same cases, with the same truth and the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Int64

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.patient import Patients, patients_of
from medai.evaluation.table import UNKNOWN, LabelData, check_predictions, infer_labels, probability_of, target_of

Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Shared:
    """Several models on the same cases.

    Attributes:
        models: Their names, in the order given.
        n: Number of cases that all have.
        patients: Who the cases belong to.
        data: By label, then by model; `rows` and `target` are the same for all models.
        left_out: By model, its cases that another lacks.
        labels_left_out: Labels that some model lacks.
    """

    models: tuple[str, ...]
    n: int
    patients: Patients
    data: Mapping[str, Mapping[str, LabelData]]
    left_out: Mapping[str, int]
    labels_left_out: tuple[str, ...]


def share_cases(tables: Tables, labels: Sequence[Label] | None = None, *, common: bool = False) -> Shared:
    """Bring tables of predictions to the same cases.

    The truth and the patient of a case are taken from any table that knows them.

    Args:
        tables: By the model's name, as `read_predictions` gives them.
        labels: What to compare; None for what the columns of all tables name.
        common: Leave out cases that a table lacks, and count them; else they are refused, since a model that skips its
            difficult cases looks better than it is.

    Raises:
        MedaiError: a table is faulty, lacks a case, or contradicts another on a truth or a patient.
    """
    if len(tables) < 2:
        raise MedaiError(f"a comparison needs two tables of predictions or more, got {len(tables)}")
    checked = {model: _checked(model, table, labels) for model, table in tables.items()}
    chosen, left = (tuple(labels), ()) if labels is not None else _common_labels(checked)
    aligned, left_out = _same_cases(checked, common)
    patients = patients_of(_patients(aligned))
    data = {label.name: _same_truth(label, aligned) for label in chosen}
    return Shared(tuple(tables), len(next(iter(aligned.values()))), patients, data, left_out, left)


def _checked(model: str, table: pl.DataFrame, labels: Sequence[Label] | None) -> pl.DataFrame:
    try:
        return check_predictions(table, labels)
    except MedaiError as error:
        raise MedaiError(f"model {model!r}: {error}") from None


def _common_labels(tables: Tables) -> tuple[tuple[Label, ...], tuple[str, ...]]:
    found = {model: {label.name: label for label in infer_labels(table)} for model, table in tables.items()}
    first = next(iter(found.values()))
    every = list(dict.fromkeys(name for labels in found.values() for name in labels))
    shared = [name for name in first if all(name in labels for labels in found.values())]
    if not shared:
        told = "; ".join(f"{model}: {', '.join(labels)}" for model, labels in found.items())
        raise MedaiError(f"the tables have no label in common ({told}); name the columns alike")
    for name in shared:
        for model, labels in found.items():
            if set(labels[name].classes) != set(first[name].classes):
                raise MedaiError(
                    f"label {name!r} has the classes {', '.join(first[name].classes)} in {next(iter(found))!r} "
                    f"and {', '.join(labels[name].classes)} in {model!r}; name the columns alike"
                )
    return tuple(first[name] for name in shared), tuple(name for name in every if name not in shared)


def _same_cases(tables: Tables, common: bool) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    everywhere = set.intersection(*(set(table["case_id"]) for table in tables.values()))
    if not everywhere:
        raise MedaiError("the tables have no case in common; case_id has to name the same cases in all of them")
    left_out = {model: len(table) - len(everywhere) for model, table in tables.items()}
    if any(left_out.values()) and not common:
        every = set().union(*(set(table["case_id"]) for table in tables.values()))
        for model, table in tables.items():
            lacking = sorted(every - set(table["case_id"]))
            if lacking:
                raise MedaiError(
                    f"model {model!r} has no prediction for {len(lacking)} of {len(every)} cases, e.g. {lacking[0]!r}; "
                    "give tables of the same cases, or say that only common cases are to be compared (--common)"
                )
    kept = pl.Series("case_id", sorted(everywhere), dtype=pl.String)
    return {model: table.filter(pl.col("case_id").is_in(kept.implode())).sort("case_id") for model, table in tables.items()}, left_out


def _patients(tables: Tables) -> pl.DataFrame:
    table = next(iter(tables.values())).select("case_id")
    known: pl.Series | None = None
    for model, other in tables.items():
        if "patient_id" not in other.columns:
            continue
        column = other["patient_id"].cast(pl.String)
        if known is not None:
            differ = known.is_not_null() & column.is_not_null() & (known != column).fill_null(False)
            if differ.any():
                case = table["case_id"].filter(differ)[0]
                raise MedaiError(f"model {model!r}: another table names another patient for case {case!r} ({int(differ.sum())} such)")
        known = column if known is None else pl.select(pl.coalesce(known, column)).to_series()
    return table if known is None else table.with_columns(known.alias("patient_id"))


def _same_truth(label: Label, tables: Tables) -> dict[str, LabelData]:
    target: Int64[np.ndarray, " n"] | None = None
    for model, table in tables.items():
        own = target_of(table, label)
        if target is None:
            target = own
            continue
        differ = (target != UNKNOWN) & (own != UNKNOWN) & (target != own)
        if differ.any():
            case = table["case_id"][int(np.flatnonzero(differ)[0])]
            raise MedaiError(
                f"model {model!r}: target.{label.name} of case {case!r} contradicts another table ({int(differ.sum())} such); "
                "the truth has to be one for all models"
            )
        target = np.where(target == UNKNOWN, own, target)
    assert target is not None
    rows = np.flatnonzero(target != UNKNOWN)
    whole = LabelData(label, rows, np.zeros(0), target[rows])
    return {model: replace(whole, probability=probability_of(table, label)[rows]) for model, table in tables.items()}
