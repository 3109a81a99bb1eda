"""A comparison as JSON and as one HTML page that needs nothing else, in the look of the evaluation's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medai.core.file import atomic_file, write_json
from medai.evaluation.comparison.verdict import BETTER, NON_INFERIOR, WORSE
from medai.evaluation.comparison.words import NAMES, counted, interval_text, methods, p_value, sections, sentence, signed
from medai.evaluation.report.svg import Plot

PAGE, DATA = "comparison.html", "comparison.json"
TONES = {BETTER: "good", NON_INFERIOR: "good", WORSE: "bad"}
STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOST_SENTENCES = 12


@dataclass(frozen=True)
class DifferenceRow:
    """A row of a table of differences, as text; `bar` is its picture."""

    metric: str
    pair: str
    difference: str
    bar: Markup
    p: str
    holm: str
    verdict: str
    tone: str
    primary: bool
    test: str


@dataclass(frozen=True)
class Section:
    """A label: the models' figures, and the differences."""

    name: str
    counts: str
    models: tuple[str, ...]
    figures: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[DifferenceRow, ...]
    scale: Markup


def write_comparison(record: Mapping[str, Any], folder: Path, created: str = "") -> Path:
    """Write `comparison.json` and `comparison.html`.

    Args:
        record: From `compare_tables`.
        folder: Where to; made.
        created: Date and time as text.

    Returns:
        The page.
    """
    folder = Path(folder)
    write_json(folder / DATA, dict(record) | ({"created": created} if created else {}))
    with atomic_file(folder / PAGE) as temporary:
        temporary.write_text(render(record, created), encoding="utf-8")
    return folder / PAGE


def render(record: Mapping[str, Any], created: str = "") -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    here, report = resources.files("medai.evaluation.comparison"), resources.files("medai.evaluation.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "comparison.html").read_text(encoding="utf-8"))
    primary = [(name, row) for name, each in sections(record) for row in each["differences"] if row["primary"]]
    return template.render(
        style=(report / "style.css").read_text(encoding="utf-8") + (here / "comparison.css").read_text(encoding="utf-8"),
        title=_title(record["models"]),
        record=record,
        created=created,
        sentences=[sentence(row, name, record["confidence"]) for name, row in primary[:MOST_SENTENCES]],
        further=max(0, len(primary) - MOST_SENTENCES),
        careful=_careful(record),
        sections=[_section(name, each, record) for name, each in sections(record)],
        methods=methods(record),
        facts=_facts(record, created),
    )


def _title(models: Sequence[str]) -> str:
    if len(models) > 4:
        return f"{len(models)} models compared"
    return f"{', '.join(models[:-1])} and {models[-1]}"


def _careful(record: Mapping[str, Any]) -> list[str]:
    said = list(record["notes"])
    if not record["patients"]["known"] or record["patients"]["cases_without"]:
        said.append(str(record["patients"]["note"]))
    if any(record["left_out"].values()):
        counts = ", ".join(f"{count:,} of {model}" for model, count in record["left_out"].items() if count)
        said.append(f"Cases without a prediction of every model were left out: {counts}. A model that skips difficult cases looks better.")
    if record["labels_left_out"]:
        said.append(f"Labels that not all models predict were left out: {', '.join(record['labels_left_out'])}.")
    bare = [name for name, each in record["labels"].items() if each["kind"] == "binary" and not each["thresholds"]]
    if bare:
        said.append(f"Without a threshold of every model, sensitivity, specificity and accuracy are not compared: {', '.join(bare)}.")
    return said


def _section(name: str, each: Mapping[str, Any], record: Mapping[str, Any]) -> Section:
    models = tuple(each["models"])
    names = list(dict.fromkeys(metric for figures in each["models"].values() for metric in figures))
    figures = tuple((NAMES[metric], tuple(interval_text(each["models"][model][metric]) for model in models)) for metric in names)
    span = _span(each["differences"], record["margin"])
    rows = tuple(_row(row, span) for row in each["differences"])
    counts = counted(each["n"], "case") + (f" \u00b7 {counted(each['events'], 'event')}" if "events" in each else "")
    if each.get("unknown"):
        counts += f" \u00b7 {each['unknown']:,} unknown"
    return Section(name, counts, models, figures, rows, _scale(span))


def _row(row: Mapping[str, Any], span: float) -> DifferenceRow:
    margin = row.get("non_inferiority")
    limit = None if margin is None else (-margin["margin"] if row["higher_is_better"] else margin["margin"])
    return DifferenceRow(
        metric=NAMES[row["metric"]] + ("" if row["higher_is_better"] else " (lower is better)"),
        pair=f"{row['model']} \u2212 {row['reference']}",
        difference=interval_text(row, sign=True),
        bar=_bar(row, span, limit),
        p=p_value(row["p"]),
        holm=p_value(row["p_holm"]),
        verdict=row["verdict"],
        tone=TONES.get(row["verdict"], ""),
        primary=row["primary"],
        test=row["test"] or row.get("reason", ""),
    )


def _span(rows: Sequence[Mapping[str, Any]], margin: float | None) -> float:
    ends = [abs(row[key]) for row in rows for key in ("low", "high", "value") if row[key] is not None] + ([margin] if margin else [])
    widest = max(ends, default=0.05) * 1.05
    return next((step for step in STEPS if step >= widest), 1.0)


def _plot(span: float) -> Plot:
    return Plot((-span, span), (0.0, 1.0), width=200, height=18, left=8, right=8, top=0, bottom=0)


def _bar(row: Mapping[str, Any], span: float, limit: float | None) -> Markup:
    plot = _plot(span)
    plot.line((-span, span), (0.5, 0.5), "track")
    plot.line((0.0, 0.0), (0.05, 0.95), "mark")
    if limit is not None:
        plot.line((limit, limit), (0.05, 0.95), "threshold")
    if row["value"] is not None:
        if row["low"] is not None:
            plot.line((max(row["low"], -span), min(row["high"], span)), (0.5, 0.5), "interval")
        plot.dot(min(max(row["value"], -span), span), 0.5, "point")
    return Markup(plot.svg(interval_text(row, sign=True)))


def _scale(span: float) -> Markup:
    plot, digits = _plot(span), 3 if span < 0.01 else 2 if span < 0.1 else 1
    for place in (-span, 0.0, span):
        plot.note(place, 0.25, "0" if place == 0 else signed(place, digits), "tick", anchor="middle")
    return Markup(plot.svg(""))


def _facts(record: Mapping[str, Any], created: str) -> list[tuple[str, str]]:
    thresholds = [
        f"{name}: " + ", ".join(f"{model} {value:.6g}" for model, value in each["thresholds"].items())
        for name, each in record["labels"].items()
        if each.get("thresholds")
    ]
    primary = NAMES.get(record["metric"], record["metric"])
    facts = [
        ("Reference", record["reference"] or "none: each two are compared"),
        ("Primary metric", primary),
        ("Margin of non-inferiority", "none declared" if record["margin"] is None else f"{record['margin']:g}"),
        ("Tests in a family", ", ".join(f"{NAMES[name]} {count}" for name, count in record["correction"]["families"].items())),
        ("Thresholds", "; ".join(thresholds)),
        ("Seed", str(record["seed"])),
        ("Created", created),
    ]
    return [(name, value) for name, value in facts if value]
