"""What lies on both sides of a border between splits, by its name or by its pixels."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from medai.audit.finding import ERROR, NOTE, WARNING, Finding, plural
from medai.cohort.leak import TEST_PIXELS
from medai.core.label import Label

BORDERS = (("train", "validation"), ("train", "test"), ("validation", "test"))
NAMES = {"patient_id": "patient", "study_id": "study", "series_id": "series", "instance_id": "SOP instance"}
MANY = {"patient": "patients", "study": "studies", "series": "series", "SOP instance": "SOP instances"}
MEND = "Mend the split: whole patients belong to one part."


def overlaps(cases: pl.DataFrame, instances: pl.DataFrame | None = None) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Patients, studies, series and SOP instances in two splits.

    Args:
        cases: `case_id`, `split` and the columns of `NAMES` that there are.
        instances: `case_id` and `instance_id`, a row a DICOM file; without it an image is taken for its own instance.

    Returns:
        Errors, and for the record what was checked: the name, how many there are, and how many lie across each border.
    """
    findings, checked = [], []
    tables = dict.fromkeys(NAMES, cases) | {"instance_id": _instances(cases, instances)}
    for column, name in NAMES.items():
        table = tables[column]
        if column not in table.columns or table[column].null_count() == len(table):
            checked.append({"name": name, "known": 0, "across": None})
            continue
        known = table.select(column, "split").drop_nulls()
        across = {f"{one}/{other}": shared(known, column, one, other) for one, other in BORDERS}
        total = known[column].n_unique()
        checked.append({"name": name, "known": total, "across": {border: len(names) for border, names in across.items()}})
        leaking = sorted({str(key) for names in across.values() for key in names})
        if leaking:
            title = f"{plural(len(leaking), name, MANY[name])} in two splits ({_borders(across)})."
            code = f"{name.lower().replace(' ', '-')}-overlap"
            findings.append(
                Finding(code, ERROR, title, len(leaking), total, "equal names", MEND, leaking, {"across": checked[-1]["across"]})
            )
    doubled = cases.filter(pl.col("case_id").is_duplicated())
    if len(doubled):
        title = f"{plural(len(doubled), 'row')} of the case table share a case_id."
        names = doubled["case_id"].unique(maintain_order=True).to_list()
        findings.append(Finding("case-twice", ERROR, title, len(doubled), len(cases), "equal case_id", "Ingest again.", names))
    return findings, checked


def shared(cases: pl.DataFrame, column: str, one: str, other: str) -> list[Any]:
    """The values of a column that both splits have."""
    sides = (cases.filter(pl.col("split") == split).select(column).drop_nulls().unique() for split in (one, other))
    first, second = sides
    return first.join(second, on=column, how="inner")[column].sort().to_list()


def equal_pixels(cases: pl.DataFrame, labels: Sequence[Label]) -> tuple[list[Finding], dict[str, Any]]:
    """Equal pixels across splits and within, and those whose labels contradict each other.

    Args:
        cases: `case_id`, `pixel_hash`, `split`, and a column a label (null = unknown or not opened).
        labels: Their definitions.
    """
    groups = cases.filter(pl.col("pixel_hash").is_not_null() & pl.col("pixel_hash").is_duplicated())
    record = {"images": len(cases), "distinct": cases["pixel_hash"].n_unique(), "groups": groups["pixel_hash"].n_unique()}
    findings, across = [], {}
    for one, other in BORDERS:
        hashes = shared(groups, "pixel_hash", one, other)
        copies = groups.filter(pl.col("pixel_hash").is_in(hashes) & pl.col("split").is_in([one, other]))
        across[f"{one}/{other}"] = len(hashes)
        if hashes:
            code = TEST_PIXELS if other == "test" else "equal-pixels-in-validation"
            title = f"{plural(len(hashes), 'image')} of {one} {'is' if len(hashes) == 1 else 'are'} in {other} too, pixel by pixel."
            advice = "Leave one side out: one image cannot both teach and examine."
            names = copies["case_id"].sort().to_list()
            findings.append(Finding(code, ERROR, title, len(hashes), len(cases), "hash of the pixels", advice, names))
    findings += _contradictions(groups, labels, len(cases))
    inside = groups.group_by("pixel_hash", "split").agg(copies=pl.len(), case_id=pl.col("case_id").sort()).filter(pl.col("copies") > 1)
    if len(inside):
        extra = int(inside["copies"].sum()) - len(inside)
        title = f"{plural(extra, 'case')} {'has' if extra == 1 else 'have'} the pixels of another case of the same split."
        names = inside.sort("case_id")["case_id"].explode().to_list()
        advice = "They count twice in training and in every figure."
        findings.append(Finding("equal-pixels-within", NOTE, title, extra, len(cases), "hash of the pixels", advice, names))
    return findings, record | {"across": across}


def _contradictions(groups: pl.DataFrame, labels: Sequence[Label], n: int) -> list[Finding]:
    findings = []
    for label in labels:
        told = groups.filter(pl.col(label.name).is_not_null())
        classes = told.group_by("pixel_hash").agg(classes=pl.col(label.name).n_unique(), case_id=pl.col("case_id").sort())
        against = classes.filter(pl.col("classes") > 1).sort("case_id")
        if len(against):
            title = f"{plural(len(against), 'image')} {'is' if len(against) == 1 else 'are'} labelled twice for {label.name}, differently."
            advice = "One of the labels is wrong: have a reader decide."
            names = against["case_id"].explode().to_list()
            code = "contradicting-labels"
            findings.append(Finding(code, WARNING, title, len(against), n, "hash of the pixels", advice, names, {"label": label.name}))
    return findings


def _borders(across: dict[str, list[Any]]) -> str:
    return ", ".join(f"{border.replace('/', ' and ')} {len(names):,}" for border, names in across.items() if names)


def _instances(cases: pl.DataFrame, instances: pl.DataFrame | None) -> pl.DataFrame:
    if instances is not None:
        return instances.select("case_id", "instance_id").join(cases.select("case_id", "split"), on="case_id", how="inner")
    return cases.filter(pl.col("shape").list.len() == 3).select("split", instance_id="case_id")
