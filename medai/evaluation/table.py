"""The table of predictions: read, checked, and taken apart by label."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.table_file import KEYS, hint_of_case, hint_of_columns, hint_of_name, hint_of_number, read_table

UNKNOWN = -1
SUM_TOLERANCE = 1e-3
TRUTHS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class LabelData:
    """The cases of one label whose truth is known.

    Attributes:
        label: What is predicted.
        rows: Places of the cases in the table, ascending but for `ranked`.
        probability: (m,) of the positive class, or (m, K).
        target: (m,) class index.
    """

    label: Label
    rows: Int64[np.ndarray, " m"]
    probability: Float64[np.ndarray, " m *k"]
    target: Int64[np.ndarray, " m"]

    def take(self, chosen: Bool[np.ndarray, " n"]) -> "LabelData":
        """Only the cases whose row in the table is `chosen`; `rows` still points into the whole table."""
        kept = chosen[self.rows]
        return LabelData(self.label, self.rows[kept], self.probability[kept], self.target[kept])

    def ranked(self) -> "LabelData":
        """The same cases in order of a binary label's probability, so that whatever is taken from them is sorted already."""
        if self.probability.ndim > 1:
            return self
        order = np.argsort(self.probability, kind="stable")
        return LabelData(self.label, self.rows[order], self.probability[order], self.target[order])


def read_predictions(path: Path, labels: Sequence[Label] | None = None) -> pl.DataFrame:
    """Read a table of predictions, CSV or Parquet (told apart by content), and check it.

    Columns: ``case_id``, optionally ``patient_id`` and any to group by; for each label ``target.<label>`` and
    ``probability.<label>`` (multi-class: ``probability.<label>.<class>``). An empty target is unknown.

    Args:
        path: The file.
        labels: What the table should hold; by default what its columns name.

    Raises:
        MedaiError: the table is not as described; the message names the column and a case.
    """
    path = Path(path)
    frame = read_table(path)
    try:
        return check_predictions(frame, labels)
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None


def check_predictions(frame: pl.DataFrame, labels: Sequence[Label] | None = None) -> pl.DataFrame:
    """Check a table in memory and give it with text keys and float probabilities.

    Raises:
        MedaiError: as `read_predictions`.
    """
    frame = check_keys(frame)
    known = tuple(labels) if labels is not None else infer_labels(frame)
    for label in known:
        frame = _check_probabilities(frame, label)
        target_of(frame, label)
    return frame


def check_keys(frame: pl.DataFrame) -> pl.DataFrame:
    """Check that each row is a case of its own, and give the table with text keys.

    Raises:
        MedaiError: no rows, no column ``case_id``, an empty one, or one that occurs twice.
    """
    if frame.is_empty():
        raise MedaiError("the table has no rows; expected one a case")
    if "case_id" not in frame.columns:
        raise MedaiError(f"column 'case_id' is missing; got {', '.join(frame.columns[:8])}{hint_of_case(frame.columns)}")
    for name in KEYS:
        _single(frame, name)
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in KEYS if name in frame.columns)
    if frame["case_id"].null_count():
        raise MedaiError(f"case_id is empty in {frame['case_id'].null_count()} rows; every case needs one")
    twice = frame.filter(pl.col("case_id").is_duplicated())
    if not twice.is_empty():
        raise MedaiError(
            f"case_id {twice['case_id'][0]!r} occurs more than once ({twice['case_id'].n_unique()} such); expected one row a case"
        )
    return frame


def check_against(cases: Sequence[str], table: pl.DataFrame, *, allow_missing: bool = False, name: str = "the cohort") -> tuple[str, ...]:
    """Check a table against the list of cases that it should hold.

    Args:
        cases: Every case_id that is to be scored, e.g. the test cases of a cohort.
        table: As `check_predictions` gives it.
        allow_missing: Whether cases without a row are only given back; else they are refused, since a model that answers
            the easy cases alone looks better than it is.
        name: Of the list, for the messages.

    Returns:
        The cases that have no row, in order of `cases`.

    Raises:
        MedaiError: the table holds a case that is not in the list, or (unless allowed) lacks some.
    """
    listed, scored = pl.Series("case_id", cases, dtype=pl.String), table["case_id"]
    strange = scored.filter(~scored.is_in(listed.implode()))
    if len(strange):
        alike = f"; did you mean {_twin(strange[0], listed)!r}?" if _twin(strange[0], listed) else ""
        advice = "take it out of the table, or name the cohort that it belongs to"
        raise MedaiError(
            f"case {strange[0]!r} is not among the {len(cases):,} of {name} ({len(strange):,} such rows){alike or f'; {advice}'}"
        )
    missing = listed.filter(~listed.is_in(scored.implode()))
    if len(missing) and not allow_missing:
        what = f"{len(missing):,} of the {len(cases):,} cases of {name} have no row, the first is {missing[0]!r}"
        raise MedaiError(f"{what}; give a probability for every case")
    return tuple(missing.to_list())


def one_class(table: pl.DataFrame, labels: Sequence[Label]) -> tuple[str, ...]:
    """A line for each label that cannot be told apart in this table, since all its cases are of one class or of none.

    It is no reason to refuse: sensitivity alone, on positives alone, is a figure.
    """
    lines = []
    for label in labels:
        target = target_of(table, label)
        held = np.unique(target[target != UNKNOWN])
        if len(held) == 0:
            lines.append(f"label {label.name!r} has no known truth: it has no figures; fill in target.{label.name}")
        elif len(held) == 1:
            only = f"all {int((target != UNKNOWN).sum()):,} known cases are {label.classes[held[0]]!r}"
            lines.append(f"label {label.name!r} has one class only, {only}: AUROC and whatever needs the other class are not known")
    return tuple(lines)


def infer_labels(frame: pl.DataFrame) -> tuple[Label, ...]:
    """The labels that the columns name, in their order: binary for ``probability.<label>``, else multi-class.

    Raises:
        MedaiError: no label, a target without a probability, or two classes in two columns.
    """
    classes: dict[str, list[str]] = {}
    for column in frame.columns:
        if column.startswith("probability."):
            name, _, of_class = column.removeprefix("probability.").partition(".")
            classes.setdefault(name, []).extend([of_class] if of_class else [])
    targets = [column.removeprefix("target.") for column in frame.columns if column.startswith("target.")]
    if not targets:
        advice = "add the truth (0, 1, or the class name; empty = unknown)"
        raise MedaiError(f"no column 'target.<label>'; {advice}{hint_of_columns(frame.columns)}")
    for name in targets:
        if name not in classes:
            hint = hint_of_name(f"probability.{name}", frame.columns) or hint_of_columns(frame.columns)
            raise MedaiError(f"column 'probability.{name}' is missing though 'target.{name}' is there{hint}")
    for name, of_label in classes.items():
        if len(of_label) in (1, 2):
            raise MedaiError(f"label {name!r} has {len(of_label)} class columns; give a binary label one column 'probability.{name}'")
    return tuple(
        Label(name, "multiclass", tuple(of_label)) if of_label else Label(name, "binary", ("negative", "positive"))
        for name, of_label in classes.items()
    )


def target_of(frame: pl.DataFrame, label: Label) -> Int64[np.ndarray, " n"]:
    """Class index of each row, -1 where unknown.

    A binary target may be 0/1, true/false or a class name; any other kind is a class name.

    Raises:
        MedaiError: the column is missing or holds something else.
    """
    column = f"target.{label.name}"
    if column not in frame.columns:
        raise MedaiError(f"column {column!r} is missing{hint_of_name(column, frame.columns)}")
    _single(frame, column)
    values = frame[column]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    text = values.cast(pl.String)
    codes = {name: index for index, name in enumerate(label.classes)}
    folded = text
    if label.kind == "binary":
        codes = TRUTHS | codes
        folded = pl.select(pl.when(text.is_in(label.classes)).then(text).otherwise(text.str.to_lowercase())).to_series()
    index = folded.replace_strict(codes, default=None, return_dtype=pl.Int64)
    strange = index.is_null() & text.is_not_null()
    if strange.any():
        allowed = "0, 1 or empty" if label.kind == "binary" and label.classes == ("negative", "positive") else ", ".join(label.classes)
        case = frame["case_id"].filter(strange)[0]
        raise MedaiError(f"{column} is {text.filter(strange)[0]!r} for case {case!r} ({int(strange.sum())} such rows); allowed: {allowed}")
    return index.fill_null(UNKNOWN).to_numpy().astype(np.int64)


def probability_of(frame: pl.DataFrame, label: Label) -> Float64[np.ndarray, " n *k"]:
    """(n,) probabilities of the positive class, or (n, K) of every class."""
    columns = [f"probability.{name}" for name in label.columns]
    values = np.stack([frame[name].cast(pl.Float64).to_numpy() for name in columns], axis=1)
    return np.ascontiguousarray(values[:, 0] if label.kind == "binary" else values)


def label_data(frame: pl.DataFrame, label: Label) -> LabelData:
    """The label's cases with known truth."""
    target = target_of(frame, label)
    rows = np.flatnonzero(target != UNKNOWN)
    return LabelData(label, rows, probability_of(frame, label)[rows], target[rows])


def _check_probabilities(frame: pl.DataFrame, label: Label) -> pl.DataFrame:
    names = [f"probability.{name}" for name in label.columns]
    for name in names:
        if name not in frame.columns:
            raise MedaiError(f"column {name!r} is missing{hint_of_name(name, frame.columns)}")
        if not frame[name].dtype.is_numeric():
            raise MedaiError(f"{name} is not numeric ({_no_number(frame, name)}); expected probabilities from 0 to 1")
    frame = frame.with_columns(pl.col(names).cast(pl.Float64))
    for name in names:
        values = frame[name]
        empty = values.is_null() | values.is_nan().fill_null(False)
        _refuse(frame, empty, f"{name} is NaN or empty", "every case needs a probability")
        advice = "give probabilities, not logits" + (" or per cent" if values.is_between(0, 100).all() else "")
        _refuse(frame, (values < 0) | (values > 1), f"{name} is outside 0 to 1", advice)
    if len(names) > 1:
        total = frame.select(pl.sum_horizontal(names)).to_series()
        message = f"the probabilities of {label.name!r} do not add up to 1"
        _refuse(frame, (total - 1).abs() > SUM_TOLERANCE, message, f"the classes are {', '.join(label.classes)}")
    return frame


def _single(frame: pl.DataFrame, name: str) -> None:
    """Refuse a column of lists or records."""
    if name in frame.columns and frame[name].dtype.is_nested():
        raise MedaiError(f"{name} is read as {frame[name].dtype}; expected a single value in each row")


def _no_number(frame: pl.DataFrame, name: str) -> str:
    """What a column holds instead of numbers."""
    if frame[name].dtype != pl.String:
        return f"it is read as {frame[name].dtype}"
    wrong = frame.filter(pl.col(name).is_not_null() & pl.col(name).cast(pl.Float64, strict=False).is_null())
    if wrong.is_empty():  # numbers that are written as text
        return "it is text"
    hint = hint_of_number(wrong[name][0])
    return f"it is {wrong[name][0]!r} for case {wrong['case_id'][0]!r}" + (f": {hint}" if hint else "")


def _twin(case: str, listed: pl.Series) -> str:
    """A case of the list that differs in spaces, capitals, leading zeros or a file's ending only."""

    def folded(name: str) -> str:
        return re.sub(r"\.(png|jpe?g|dcm|nii|nii\.gz|npz|tiff?|bmp)$", "", name.strip().lower()).lstrip("0")

    return next((name for name in listed.to_list() if folded(name) == folded(case)), "")


def _refuse(frame: pl.DataFrame, wrong: pl.Series, what: str, advice: str) -> None:
    if wrong.any():
        raise MedaiError(f"{what} for case {frame['case_id'].filter(wrong)[0]!r} ({int(wrong.sum())} such rows); {advice}")
