"""Models side by side on the same cases: differences with their intervals first, p-values beside them."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.report.forest import Drawn, differences
from medai.evaluation.report.format import cell, count, difference, p_value
from medai.evaluation.report.part import Row, Table
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words


def comparison_tables(record: Mapping[str, Any], words: Words) -> list[Table]:
    """A table a label: each pair of models and metric with both values, the difference drawn, and what is concluded.

    Args:
        record: From `compare_tables`.
        words: The language.
    """
    tables = [_table(spoken(name), of_label, record.get("margin"), words) for name, of_label in record.get("labels", {}).items()]
    if record.get("macro"):
        tables.insert(0, _table(words["mean_labels"], record["macro"], record.get("margin"), words))
    return [table for table in tables if table.rows]


def comparison_notes(record: Mapping[str, Any], words: Words) -> list[str]:
    """What the differences are of, and the margin that was declared."""
    said = [words["comparison_note"].format(cases=count(record["cases"], words), correction=record["correction"]["method"])]
    if record.get("margin") is not None:
        said.append(words["non_inferiority"].format(margin=f"{record['margin']:g}", metric=words.get(record["metric"], record["metric"])))
    for name, number in record.get("left_out", {}).items():
        if number:
            said.append(words["comparison_left_out"].format(model=name, count=count(number, words)))
    return said


def _table(heading: str, of_label: Mapping[str, Any], margin: float | None, words: Words) -> Table:
    rows: list[Drawn] = []
    pairs: list[tuple[str, str]] = []
    for each in of_label.get("differences", ()):
        key, pair = each["metric"], (each["model"], each["reference"])
        if pair not in pairs:
            pairs.append(pair)
            nothing = {"value": None, "low": None, "high": None}
            named = words["comparison_pair"].format(model=pair[0], reference=pair[1])
            rows.append((Row(named, ("",) * 4, kind="part"), nothing))
        models = of_label["models"]
        values = [cell(models[name][key], key, words) for name in pair]
        tested = [words.phrase(each["test"])] if each.get("test") else []
        p = each.get("p_holm", each.get("p"))
        said = p_value(p, words)
        verdict = words.get(f"verdict_{each['verdict']}", each["verdict"]) if each.get("verdict") else ""
        cells = (values[0], difference(each, key, words), said, verdict)
        below = ((0, values[1]), *((2, text) for text in tested))
        rows.append((Row(words.get(key, key), cells, kind="inner primary" if each.get("primary") else "inner", below=below), each))
    columns = tuple(words[key] for key in ("figure", "comparison_values", "difference_short", "p_holm", "verdict"))
    return differences(heading, columns, rows, words["difference_short"], margin=margin)
