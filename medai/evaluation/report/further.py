"""What may stand behind an evaluation besides its figures: the plan of its precision, and the seal of its test set."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.report.format import count, number, percent
from medai.evaluation.report.part import Row, Table
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words


def precision_table(record: Mapping[str, Any], words: Words) -> Table | None:
    """The half widths that were planned beside those that were reached."""
    rows: list[Row] = []
    for name, of_label in record.get("labels", {}).items():
        figures = of_label.get("figures", {})
        if figures:
            rows.append(Row(spoken(name), ("",) * 4, kind="part"))
        for key, figure in figures.items():
            cells = (
                number(figure.get("assumed"), key, words),
                _half(figure.get("planned_half_width"), key, words),
                _half(figure.get("reached_half_width"), key, words),
                words.phrase(str(figure.get("method", ""))),
            )
            rows.append(Row(words.get(key, key), cells, kind="inner"))
    if not rows:
        return None
    columns = tuple(words[key] for key in ("figure", "precision_assumed", "precision_planned", "precision_reached", "precision_method"))
    note = words["precision_note"].format(confidence=float(record.get("confidence", 0.95)) * 100)
    return Table(words["precision"], columns, tuple(rows), note=note)


def seal_facts(record: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """What the ledger of a sealed test set says of this attempt."""
    facts: list[tuple[str, str]] = []
    if record.get("attempt") is not None:
        whole = record.get("budget")
        text = count(record["attempt"], words) if whole is None else words["seal_of"].format(attempt=record["attempt"], budget=whole)
        facts.append((words["seal_attempt"], text))
    if record.get("metric"):
        facts.append((words["seal_metric"], str(record["metric"])))
    if record.get("released") is not None:
        facts.append((words["seal_released"], words["yes" if record["released"] else "no"]))
    if record.get("ladder") is not None:
        facts.append((words["seal_ladder"], words["seal_eta"].format(eta=f"{record['ladder']:g}")))
    if record.get("best") is not None:
        facts.append((words["seal_best"], number(record["best"], "", words)))
    if record.get("withheld"):
        facts.append((words["seal_withheld"], count(len(record["withheld"]), words)))
    if record.get("id"):
        facts.append((words["seal_id"], str(record["id"])))
    return facts


def _half(value: float | None, key: str, words: Words) -> str:
    if value is None:
        return words["not_known"]
    return "± " + (percent(value) if key in ("sensitivity", "specificity") else number(value, key, words))
