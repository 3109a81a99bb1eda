"""What the cases are like: classes, ages, missing values, sizes, and what falls out of line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from medai.audit.finding import NOTE, WARNING, Finding, plural
from medai.core.label import Label

METADATA = (
    "site",
    "manufacturer",
    "model",
    "modality",
    "body_part",
    "laterality",
    "view",
    "photometric",
    "size",
    "dtype",
    "sex",
    "age_band",
)
AGES = (0.0, 120.0)
FAR = 8.0  # robust standard deviations
SMALL = 0.1  # of the median number of pixels
FEWEST = 20  # cases of a kind, to tell what is usual
MOST_ROWS = 12  # of a table


def with_categories(cases: pl.DataFrame) -> pl.DataFrame:
    """The cases with `size` (e.g. ``"512 x 512"``) and `age_band` (decades) beside the columns that are there."""
    size = pl.col("shape").list.slice(1).cast(pl.List(pl.String)).list.join(" x ")
    decade = (pl.col("age_years") // 10 * 10).cast(pl.Int32)
    band = pl.when(decade >= 90).then(pl.lit("90+")).otherwise(pl.format("{}-{}", decade, decade + 9))
    return cases.with_columns(size=size, age_band=pl.when(pl.col("age_years").is_not_null()).then(band))


def useful(cases: pl.DataFrame) -> list[str]:
    """The columns of metadata that are there with at least two values (a missing one counts), and not another one for each case."""
    kept = []
    for column in METADATA:
        if column in cases.columns and 2 <= cases[column].n_unique() <= max(2, len(cases) // 2):
            kept.append(column)
    return kept


def class_counts(cases: pl.DataFrame, labels: Sequence[Label]) -> dict[str, list[dict[str, Any]]]:
    """By label and split: how many cases there are of each class, and how many without."""
    table = {}
    for label in labels:
        rows = []
        for split, part in _by_split(cases):
            values = part[label.name]
            count = np.bincount(values.drop_nulls().to_numpy().astype(np.int64), minlength=len(label.classes)).tolist()
            names = part.filter(values.is_not_null())["patient_id"].drop_nulls().n_unique()
            rows.append({"split": split, "n": len(part), "classes": count, "unknown": values.null_count(), "patients": names})
        table[label.name] = rows
    return table


def absent_classes(counts: dict[str, list[dict[str, Any]]], labels: Sequence[Label]) -> list[Finding]:
    """Classes that a split has no case of."""
    findings = []
    for label in labels:
        for row in counts[label.name]:
            absent = [name for name, count in zip(label.classes, row["classes"], strict=True) if count == 0]
            if absent and row["n"] > row["unknown"]:
                title = f"No case of {label.name} {', '.join(absent)} in {row['split']}."
                advice = "Nothing can be learnt or measured for it there."
                findings.append(
                    Finding("class-absent", WARNING, title, len(absent), len(label.classes), "count", advice, (), {"label": label.name})
                )
    return findings


def ages(cases: pl.DataFrame) -> list[dict[str, Any]]:
    """By split: the ages' quartiles, and how many are missing."""
    rows = []
    for split, part in _by_split(cases):
        known = part["age_years"].drop_nulls().to_numpy()
        quartiles = [round(float(value), 2) for value in np.quantile(known, [0, 0.25, 0.5, 0.75, 1])] if len(known) else None
        rows.append({"split": split, "n": len(part), "known": len(known), "quartiles": quartiles, "sex": _shares(part["sex"])})
    return rows


def missing_values(cases: pl.DataFrame) -> list[dict[str, Any]]:
    """By column: how many cases lack it, and by how much the share differs between splits."""
    names = ("patient_id", "study_id", "series_id", *METADATA, "age_years", "spacing_mm", "study_date")
    rows = []
    for column in (name for name in dict.fromkeys(names) if name in cases.columns and name not in ("size", "age_band")):
        shares = {split: round(part[column].null_count() / len(part), 4) for split, part in _by_split(cases)}
        rows.append({"column": column, "missing": cases[column].null_count(), "n": len(cases), "share": shares})
    return rows


def cross_table(cases: pl.DataFrame, column: str, label: Label) -> list[dict[str, Any]]:
    """By category: its cases and the classes of the label among those that are known, the most frequent first."""
    rows = []
    known = cases.filter(pl.col(label.name).is_not_null())
    for (value,), part in known.group_by([column], maintain_order=True):
        count = np.bincount(part[label.name].to_numpy().astype(np.int64), minlength=len(label.classes)).tolist()
        rows.append({"value": None if value is None else str(value), "n": len(part), "classes": count})
    return sorted(rows, key=lambda row: (-row["n"], str(row["value"])))


def sizes(cases: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """How often each size and each number type occurs."""
    return {column: [{"value": value, "n": count} for value, count in _top(cases[column])] for column in ("size", "dtype", "modality")}


def outliers(cases: pl.DataFrame) -> list[Finding]:
    """Constant images, impossible ages, sizes and intensities far from those of the same kind (modality and number type)."""
    findings = []
    constant = cases.filter(pl.col("pixel_min") == pl.col("pixel_max"))
    findings += _finding("constant-image", WARNING, constant, cases, "without any contrast", "smallest = largest value", "Leave them out.")
    low, high = AGES
    wrong = cases.filter((pl.col("age_years") < low) | (pl.col("age_years") > high))
    findings += _finding("impossible-age", WARNING, wrong, cases, f"younger than {low:g} or older than {high:g}", "range", "Mend the ages.")
    area = pl.col("shape").list.slice(1).list.eval(pl.element().cast(pl.Float64).log()).list.sum().exp()
    table = cases.with_columns(area=area, kind=pl.concat_str("modality", "dtype", separator="/", ignore_nulls=True))
    small = table.filter((pl.len().over("kind") >= FEWEST) & (pl.col("area") < SMALL * pl.col("area").median().over("kind")))
    how = "pixels below a tenth of the median of its modality and number type"
    findings += _finding("small-image", NOTE, small, cases, "unusually small", how, "A thumbnail, perhaps.")
    far = _far(table, "pixel_max") | _far(table, "pixel_min")
    how = f"smallest or largest value over {FAR:g} robust standard deviations from those of its modality and number type"
    findings += _finding(
        "intensity-outlier", NOTE, table.filter(far), cases, "with unusual intensities", how, "Units or padding may differ."
    )
    return findings


def _far(table: pl.DataFrame, column: str) -> pl.Series:
    """Robust z (median, quartiles) beyond the limit; where the quartiles are equal nothing is called far."""
    value = pl.col(column)
    spread = (value.quantile(0.75).over("kind") - value.quantile(0.25).over("kind")) / 1.349
    z = (value - value.median().over("kind")).abs() / spread
    chosen = (spread > 0) & (z > FAR) & (pl.len().over("kind") >= FEWEST)
    return table.select(chosen.fill_null(False).alias("far"))["far"]


def _finding(code: str, severity: str, chosen: pl.DataFrame, cases: pl.DataFrame, what: str, how: str, advice: str) -> list[Finding]:
    if chosen.is_empty():
        return []
    title = f"{plural(len(chosen), 'case')} {what}."
    return [Finding(code, severity, title, len(chosen), len(cases), how, advice, chosen["case_id"].head(20).to_list())]


def _by_split(cases: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts = [(split, cases.filter(pl.col("split") == split)) for split in ("train", "validation", "test")]
    return [(split, part) for split, part in parts if len(part)]


def _shares(values: pl.Series) -> dict[str, int]:
    return {"unknown" if value is None else str(value): count for value, count in _top(values)}


def _top(values: pl.Series) -> list[tuple[Any, int]]:
    counts = values.value_counts(name="n").sort(["n", values.name], descending=[True, False], nulls_last=True)
    return [(value, int(count)) for value, count in counts.iter_rows()][:MOST_ROWS]
