"""The audit as JSON and as one HTML page that needs nothing else, in the look of the evaluation's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import polars as pl
from markupsafe import Markup

from medai.audit.audit import Audit
from medai.audit.describe import MOST_ROWS
from medai.audit.finding import ERROR, NOTE, REVIEW, WARNING, Finding, plural
from medai.audit.method import METHODS
from medai.audit.phash import grey
from medai.audit.pixel import CasePixels
from medai.core.error import MedaiError
from medai.core.file import atomic_file, write_json
from medai.evaluation.report.gallery import LONGEST_NAME, png
from medai.evaluation.report.svg import interval_bar, scale

EMPTY = Markup("")
PAGE, DATA = "audit.html", "audit.json"
MOST_PAIRS = 24
MOST_CATEGORIES = 12
HEADINGS = {ERROR: "Errors", WARNING: "Warnings", REVIEW: "To review", NOTE: "Notes"}
RELATION = {
    "across": "different patients, across splits",
    "within": "different patients",
    "unknown": "a patient is unknown",
    "patient": "one patient",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, or a picture; with a share it is shaded."""

    text: str
    share: float | None = None
    picture: Markup = EMPTY


@dataclass(frozen=True)
class Grid:
    """A table of the page."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class PicturedPair:
    """A pair of near-duplicates."""

    names: tuple[str, str]
    keys: tuple[str, str]
    lines: tuple[str, ...]
    pictures: tuple[str | None, str | None]


def check_place(folder: Path) -> None:
    """Refuse a folder that cannot be written, before the work.

    Raises:
        MedaiError: it cannot be made, or no file can be made in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MedaiError(f"the audit cannot be written to {folder} ({error.strerror}); name another folder: --output FOLDER") from None


def write_audit(audit: Audit, folder: Path, *, images: bool | None = None, created: str = "") -> Path:
    """Write `audit.json` and `audit.html`.

    Args:
        audit: From `audit_cohort`.
        folder: Where to.
        images: Show the pairs' images in the page; None: of public cohorts only, since a page is passed on more easily than a cohort.
        created: Date and time as text.

    Returns:
        The page.
    """
    shown = bool(audit.cohort.meta.get("public")) if images is None else images
    write_json(folder / DATA, audit.to_dict() | ({"created": created} if created else {}))
    with atomic_file(folder / PAGE) as temporary:
        temporary.write_text(render(audit, shown, created), encoding="utf-8")
    return folder / PAGE


def render(audit: Audit, images: bool, created: str = "") -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    here, report = resources.files("medai.audit"), resources.files("medai.evaluation.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "audit.html").read_text(encoding="utf-8"))
    record = audit.record
    return template.render(
        style=(report / "style.css").read_text(encoding="utf-8") + (here / "audit.css").read_text(encoding="utf-8"),
        title=f"Audit of {audit.cohort.name}",
        created=created,
        record=record,
        summary=_summary(audit),
        careful=_careful(audit, images),
        groups=[(severity, HEADINGS[severity], audit.of(severity)) for severity in HEADINGS if audit.of(severity)],
        cards=_cards(audit),
        flow=_flow(record),
        checks=_checks(record),
        pairs=pictured_pairs(audit, images),
        pairs_total=len(audit.near.pairs) if audit.near else 0,
        images=images,
        short=_short,
        shortcuts=_shortcut_grids(record),
        cases=[*_class_grids(audit), _age_grid(record), _missing_grid(record), *_size_grids(record)],
        methods=METHODS,
        facts=_facts(record),
    )


def pictured_pairs(audit: Audit, images: bool) -> list[PicturedPair]:
    """The first pairs, with their pictures where they may be shown; those of one patient only where there is room."""
    if audit.near is None:
        return []
    chosen = audit.near.pairs.head(MOST_PAIRS)
    rows = audit.cases.filter(pl.col("case_id").is_in([*chosen["first"], *chosen["second"]]))
    of_case = {row["case_id"]: row for row in rows.iter_rows(named=True)}
    source, pairs = CasePixels(audit.cohort.path), []
    for pair in chosen.iter_rows(named=True):
        keys = (pair["first"], pair["second"])
        pictures = tuple(_picture(source, of_case[key]) if images else None for key in keys)
        splits = " and ".join(dict.fromkeys((pair["first_split"], pair["second_split"])))
        lines = (f"likeness {pair['likeness']:.3f} \u00b7 {splits}", RELATION[pair["relation"]])
        pairs.append(PicturedPair((_short(keys[0]), _short(keys[1])), keys, lines, (pictures[0], pictures[1])))
    return pairs


def _picture(source: CasePixels, row: Mapping[str, Any]) -> str:
    pixels = source.read(row)
    return png(grey(pixels)[None] if pixels.ndim == 4 else pixels)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}\u2026"


def _summary(audit: Audit) -> list[str]:
    record, errors = audit.record, audit.errors
    if errors:
        said = f"This cohort must not be used as it is: {plural(len(errors), 'error')}. {errors[0].title} {errors[0].advice}"
    else:
        said = "Nothing stands against using this cohort: no patient, study, series or image lies in two splits."
    second = []
    warnings, reviews = audit.of(WARNING), audit.of(REVIEW)
    if warnings:
        second.append(f"{plural(len(warnings), 'warning')} should be read before results are believed.")
    near = record["near_duplicates"]
    if near and reviews:
        pairs = sum(finding.count for finding in reviews)
        second.append(f"{plural(pairs, 'pair')} of images that look alike should be looked at.")
    if near:
        second.append(f"{near['pairs_compared']:,} pairs of images were compared.")
    return [said, " ".join(second)] if second else [said]


def _careful(audit: Audit, images: bool) -> list[str]:
    said = []
    if not audit.record["test_labels"] and audit.record["splits"]["test"]:
        said.append("The test labels were not opened: all findings on labels are on training and validation.")
    if audit.near is None:
        said.append("Near-duplicates were not sought.")
    if audit.near is not None and len(audit.near.pairs) and not images:
        said.append("The images of the pairs are not shown, since the cohort is not public.")
    return said


def _cards(audit: Audit) -> list[tuple[str, str, str]]:
    hints = {ERROR: "stop ingest and training", WARNING: "may make results wrong", REVIEW: "for a person to look at", NOTE: "to be known"}
    return [(HEADINGS[severity], str(len(audit.of(severity))), hint) for severity, hint in hints.items()]


def _flow(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    steps = [("audited", record["cases"]), *record["splits"].items(), ("patients", record["patients"]), ("excluded", record["excluded"])]
    return [(name, f"{count:,}") for name, count in steps]


def _checks(record: Mapping[str, Any]) -> Grid:
    rows = []
    for check in record["names"]:
        across = check["across"]
        cells = [Cell(f"{count:,}") for count in across.values()] if across else [Cell("unknown")] * 3
        rows.append((Cell(check["name"]), Cell(f"{check['known']:,}"), *cells))
    pixels = record["pixels"]
    rows.append((Cell("equal pixels"), Cell(f"{pixels['distinct']:,}"), *(Cell(f"{count:,}") for count in pixels["across"].values())))
    near = record["near_duplicates"]
    if near:
        counted = near["across"]
        rows.append((Cell("look alike"), Cell(f"{near['images']:,}"), *(Cell(f"{count:,}") for count in counted.values())))
    columns = ("", "Distinct", "Train / validation", "Train / test", "Validation / test")
    note = ""
    if near:
        note = (
            f"{near['pairs_compared']:,} pairs compared ({near['hashes_compared']:,} hashes), {near['candidates']:,} candidates, "
            f"the pixels of {near['looked_at']:,} looked at; {near['featureless']:,} featureless images left out."
        )
    return Grid("What lies across the borders", columns, tuple(rows), note)


def _shortcut_grids(record: Mapping[str, Any]) -> list[Grid]:
    grids, shortcut = [], record["shortcuts"]
    rows: list[tuple[Cell, ...]] = []
    if shortcut["metadata_auroc"]:
        for area in shortcut["metadata_auroc"]:
            if area["value"] is None:
                rows.append((Cell(f"{area['label']}: {area['class']}"), Cell("-"), Cell(""), Cell(area["reason"]), Cell(f"{area['n']:,}")))
                continue
            said = f"{area['low']:.3f}-{area['high']:.3f}" if area["low"] is not None else area.get("reason", "")
            bar = Markup(interval_bar(area["low"], area["value"], area["high"], (0.0, 1.0), 0.5))
            rows.append(
                (
                    Cell(f"{area['label']}: {area['class']}"),
                    Cell(f"{area['value']:.3f}"),
                    Cell("", picture=bar),
                    Cell(said),
                    Cell(f"{area['n']:,}"),
                )
            )
        rows.append((Cell(""), Cell(""), Cell("", picture=Markup(scale((0.0, 1.0)))), Cell(""), Cell("")))
        note = "Cross-validated by patient on development, from " + (", ".join(map(_spoken, shortcut["columns"])) or "nothing") + "."
        grids.append(Grid("AUROC of metadata alone", ("Label", "AUROC", "", "95% CI", "n"), tuple(rows), note))
    for heading, columns, found in (
        ("Labels and metadata", ("Label", "Metadata", "Cramer's V", "p (Holm)", "n", "Patients"), shortcut["associations"]),
        ("Test against development", ("Metadata", "Cramer's V", "p", "n", "Patients"), record["test_against_development"]),
    ):
        shown = sorted((each for each in found if each["v"] is not None), key=lambda each: -each["v"])
        rows = []
        for each in shown[: 3 * MOST_ROWS]:
            head = [Cell(each["label"])] if "label" in each else []
            p = _p(each.get("p_holm", each["p"]))
            rows.append(
                (
                    *head,
                    Cell(_spoken(each["column"])),
                    Cell(f"{each['v']:.2f}", each["v"]),
                    Cell(p),
                    Cell(f"{each['n']:,}"),
                    Cell(f"{each['patients']:,}"),
                )
            )
        if rows:
            grids.append(
                Grid(heading, columns, tuple(rows), "A held-out site or period differs by intention." if "Test" in heading else "")
            )
    return grids


def _class_grids(audit: Audit) -> list[Grid]:
    grids = []
    for label in audit.cohort.labels:
        rows = []
        for row in audit.record["labels"][label.name]:
            known = max(1, row["n"] - row["unknown"])
            counts = [Cell(f"{count:,}", count / known) for count in row["classes"]]
            rows.append((Cell(row["split"]), Cell(f"{row['n']:,}"), *counts, Cell(f"{row['unknown']:,}"), Cell(f"{row['patients']:,}")))
        columns = ("Split", "Cases", *label.classes, "Without", "Patients")
        grids.append(Grid(f"Classes: {_spoken(label.name)}", columns, tuple(rows), label.meaning))
        sites = audit.record["site_by_label"].get(label.name, [])
        rows = []
        for row in sites[:MOST_CATEGORIES]:
            known = max(1, sum(row["classes"]))
            rows.append(
                (Cell(_known(row["value"])), Cell(f"{row['n']:,}"), *(Cell(f"{count:,}", count / known) for count in row["classes"]))
            )
        if len(rows) > 1:
            more = f"{len(sites) - MOST_CATEGORIES:,} smaller sites are not shown." if len(sites) > MOST_CATEGORIES else ""
            grids.append(Grid(f"Sites: {_spoken(label.name)}", ("Site", "Known", *label.classes), tuple(rows), more))
    return grids


def _age_grid(record: Mapping[str, Any]) -> Grid:
    rows = []
    for row in record["ages"]:
        quartiles = [f"{value:g}" for value in row["quartiles"]] if row["quartiles"] else ["-"] * 5
        sexes = ", ".join(f"{name} {count:,}" for name, count in row["sex"].items())
        rows.append((Cell(row["split"]), Cell(f"{row['known']:,} of {row['n']:,}"), *map(Cell, quartiles), Cell(sexes)))
    return Grid("Ages and sex", ("Split", "Age known", "Lowest", "25%", "Median", "75%", "Highest", "Sex"), tuple(rows))


def _missing_grid(record: Mapping[str, Any]) -> Grid:
    splits = [split for split, count in record["splits"].items() if count]
    rows = []
    for row in record["missing"]:
        shares = [Cell(f"{row['share'][split] * 100:.1f}%", row["share"][split]) for split in splits]
        rows.append((Cell(_spoken(row["column"])), Cell(f"{row['missing']:,}"), *shares))
    return Grid("Missing values", ("Column", "Missing", *(split.capitalize() for split in splits)), tuple(rows))


def _size_grids(record: Mapping[str, Any]) -> list[Grid]:
    rows, total = [], max(1, record["cases"])
    for column, values in record["sizes"].items():
        for row in values[:MOST_ROWS]:
            rows.append((Cell(_spoken(column)), Cell(_known(row["value"])), Cell(f"{row['n']:,}", row["n"] / total)))
    return [Grid("Sizes and number types", ("", "Value", "Cases"), tuple(rows))]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    cohort = record["cohort"]
    facts = [("Cohort", cohort["name"]), ("Content hash", cohort["hash"]), ("A case is", cohort["unit"]), ("Result", record["result"])]
    return [*facts, ("Test labels", "opened" if record["test_labels"] else "not opened"), *record["versions"].items()]


def _known(value: str | None) -> str:
    return "not given" if value is None else value


def _spoken(name: str) -> str:
    return {"study_id": "study", "series_id": "series", "patient_id": "patient", "dtype": "number type"}.get(name, name.replace("_", " "))


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def told(findings: Sequence[Finding]) -> list[str]:
    """A line a finding, for a terminal."""
    return [f"{finding.severity:<8} {finding.code:<28} {finding.title}" for finding in findings]
