"""Everything about one label, ready to be placed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.figures import figures_table, matrix
from medai.evaluation.report.forest import classes_forest, gaps_table, group_forest, worst_groups
from medai.evaluation.report.gallery import Gallery, Pictures, binary_galleries, multiclass_galleries
from medai.evaluation.report.panel import binary_panels, decision_panels, multiclass_panels, prevalence_panels
from medai.evaluation.report.part import Matrix, Panel, Table
from medai.evaluation.report.prevalence import Thousand, thousands
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words
from medai.evaluation.table import label_data


@dataclass(frozen=True)
class Section:
    """A label's part of the report.

    Attributes:
        anchor: Where the contents point to.
        heading: The label.
        meaning: Of the label, in a sentence.
        panels: Plots.
        matrix: Decisions against truth; None where nothing is decided.
        thousands: What the figures mean for a thousand patients.
        figures: All figures.
        forests: Classes, then groups.
        worst: The weakest groups, in sentences.
        gaps: Between the groups.
        galleries: Single cases, with their images.
        cases: Single cases, by their figures.
    """

    anchor: str
    heading: str
    meaning: str
    panels: tuple[Panel, ...]
    matrix: Matrix | None
    thousands: tuple[Thousand, ...]
    figures: Table
    forests: tuple[Table, ...]
    worst: tuple[str, ...]
    gaps: Table | None
    galleries: tuple[Gallery, ...]
    cases: Table | None = None


def section(evaluation: Evaluation, name: str, most_pictures: int, source: Pictures, words: Words) -> Section:
    """The section of a label. Of a sealed test set nothing is shown but the figures that were released.

    Args:
        evaluation: From `evaluate`.
        name: Of the label.
        most_pictures: In a gallery.
        source: Of the pictures.
        words: The language.
    """
    metrics = evaluation.metrics
    place = next(index for index, each in enumerate(evaluation.labels) if each.name == name)
    label, record = evaluation.labels[place], metrics["labels"][name]
    binary, confidence = label.kind == "binary", metrics["confidence"]
    panels: tuple[Panel, ...] = ()
    if binary:
        panels = (*decision_panels(record, confidence, words), *prevalence_panels(record, words))
    galleries: tuple[Gallery, ...] = ()
    if not metrics.get("seal"):
        data = label_data(evaluation.table, label)
        panels = binary_panels(data, record, confidence, words) if binary else multiclass_panels(data, record, words)
        many = most_pictures if binary else 2 * most_pictures
        galleries = (binary_galleries if binary else multiclass_galleries)(evaluation, data, many, source, words)
    forests = [] if binary else [classes_forest(record, words)]
    groups = [group_forest(metrics, name, column, words) for column, rows in metrics["groups"].items() if len(rows) > 1]
    forests += [replace(each, note="") for each in groups[:-1]] + groups[-1:]  # one note for all groups
    return Section(
        anchor=f"label-{place + 1}",
        heading=spoken(name),
        meaning=label.meaning,
        panels=panels,
        matrix=matrix(label.classes, _counts(record), record.get("threshold"), words),
        thousands=thousands(record, words) if binary else (),
        figures=figures_table(record, confidence, words),
        forests=tuple(forests),
        worst=tuple(worst_groups(metrics, name, words)),
        gaps=gaps_table(metrics, name, words),
        galleries=galleries,
    )


def _counts(record: Mapping[str, Any]) -> list[list[int | None]]:
    counts = record["confusion"]
    if record["kind"] != "binary":
        return [list(row) for row in counts]
    return [[counts["true_negative"], counts["false_positive"]], [counts["false_negative"], counts["true_positive"]]]
