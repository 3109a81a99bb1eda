"""The table of predictions: read, checked, and taken apart by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.core.error import MedaiError
from medai.core.label import Label

UNKNOWN = -1
SUM_TOLERANCE = 1e-3
TRUTHS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class LabelData:
    """The cases of one label whose truth is known.

    Attributes:
        label: What is predicted.
        rows: Places of the cases in the table, ascending.
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
    frame = _read(path)
    try:
        return check_predictions(frame, labels)
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None


def check_predictions(frame: pl.DataFrame, labels: Sequence[Label] | None = None) -> pl.DataFrame:
    """Check a table in memory and give it with text keys and float probabilities.

    Raises:
        MedaiError: as `read_predictions`.
    """
    if frame.is_empty():
        raise MedaiError("the table has no rows; expected one a case")
    if "case_id" not in frame.columns:
        raise MedaiError(f"column 'case_id' is missing; got {', '.join(frame.columns[:8])}")
    keys = [pl.col(name).cast(pl.String) for name in ("case_id", "patient_id") if name in frame.columns]
    frame = frame.with_columns(keys)
    if frame["case_id"].null_count():
        raise MedaiError(f"case_id is empty in {frame['case_id'].null_count()} rows; every case needs one")
    twice = frame.filter(pl.col("case_id").is_duplicated())
    if not twice.is_empty():
        raise MedaiError(
            f"case_id {twice['case_id'][0]!r} occurs more than once ({twice['case_id'].n_unique()} such); expected one row a case"
        )
    known = tuple(labels) if labels is not None else infer_labels(frame)
    for label in known:
        frame = _check_probabilities(frame, label)
        target_of(frame, label)
    return frame


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
        raise MedaiError("no column 'target.<label>'; add the truth (0, 1, or the class name; empty = unknown)")
    for name in targets:
        if name not in classes:
            raise MedaiError(f"column 'probability.{name}' is missing though 'target.{name}' is there")
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
        raise MedaiError(f"column {column!r} is missing")
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


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MedaiError(f"{path} does not exist")
    with path.open("rb") as stream:
        magic = stream.read(4)
    try:
        if magic == b"PAR1":
            return pl.read_parquet(path)
        text = {"case_id": pl.String, "patient_id": pl.String}  # keys such as 007 keep their zeros
        return pl.read_csv(path, schema_overrides=text, infer_schema_length=None, null_values=["", "NA", "NaN", "nan"])
    except pl.exceptions.NoDataError:
        raise MedaiError(f"{path} is empty; expected a table of predictions") from None
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MedaiError(f"{path} is neither a CSV nor a Parquet table of predictions ({first})") from None


def _check_probabilities(frame: pl.DataFrame, label: Label) -> pl.DataFrame:
    names = [f"probability.{name}" for name in label.columns]
    for name in names:
        if name not in frame.columns:
            raise MedaiError(f"column {name!r} is missing")
        if not frame[name].dtype.is_numeric():
            raise MedaiError(f"{name} is not numeric (it is read as {frame[name].dtype}); expected probabilities from 0 to 1")
    frame = frame.with_columns(pl.col(names).cast(pl.Float64))
    for name in names:
        values = frame[name]
        empty = values.is_null() | values.is_nan().fill_null(False)
        _refuse(frame, empty, f"{name} is NaN or empty", "every case needs a probability")
        _refuse(frame, (values < 0) | (values > 1), f"{name} is outside 0 to 1", "give probabilities, not logits")
    if len(names) > 1:
        total = frame.select(pl.sum_horizontal(names)).to_series()
        message = f"the probabilities of {label.name!r} do not add up to 1"
        _refuse(frame, (total - 1).abs() > SUM_TOLERANCE, message, f"the classes are {', '.join(label.classes)}")
    return frame


def _refuse(frame: pl.DataFrame, wrong: pl.Series, what: str, advice: str) -> None:
    if wrong.any():
        raise MedaiError(f"{what} for case {frame['case_id'].filter(wrong)[0]!r} ({int(wrong.sum())} such rows); {advice}")
