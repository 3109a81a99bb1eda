"""Everything about one structure of a segmentation table, ready to be placed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool
from markupsafe import Markup

from medai.evaluation.group import groups_of
from medai.evaluation.report.figures import card, figure_row
from medai.evaluation.report.forest import Drawn, drawn, forest
from medai.evaluation.report.format import cell, count, difference, figure_of, number, p_value, short
from medai.evaluation.report.gallery import short_name
from medai.evaluation.report.part import Card, Panel, Row, Table
from medai.evaluation.report.section import Section
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.strip import Spread, axis_of, beyond, strip_plot
from medai.evaluation.report.svg import round_up
from medai.evaluation.report.text import Words
from medai.evaluation.segmentation_table import MEASURES, PREDICTION, REFERENCE, Measured

TYPICAL = {"dice": "mean", "nsd": "mean", "hd95": "median"}  # a mean of distances leaves out those that are infinite
MOST_ROWS = 8  # groups beside all cases in a plot
MOST_CASES = 10
MOST_CARDS = 6


def structure_section(metrics: Mapping[str, Any], table: pl.DataFrame, measured: Sequence[Measured], name: str, words: Words) -> Section:
    """The section of a structure.

    Args:
        metrics: From `evaluate_segmentation`.
        table: The cases, in the order of `measured`.
        measured: From `measured_of`; those of other structures are passed over.
        name: Of the structure.
        words: The language.
    """
    of_structure = [each for each in measured if each.structure == name]
    place = list(metrics["structures"]).index(name)
    columns = [column for column, rows in metrics["groups"].items() if len(rows) > 1]
    forests = [outline_forest(metrics, name, column, words, last=column == columns[-1]) for column in columns]
    panels = tuple(_panel(each, table, metrics, words, first=each is of_structure[0]) for each in of_structure)
    return Section(
        anchor=f"structure-{place + 1}", heading=spoken(name), meaning=_presence(metrics["structures"][name], words),
        panels=panels, matrix=None, thousands=(), figures=_figures(metrics["structures"][name], metrics["confidence"], words),
        forests=tuple(forests), worst=(), gaps=None, galleries=(),
        cases=lowest_cases(table, of_structure, metrics["groups"], words),
    )  # fmt: skip


def outline_cards(metrics: Mapping[str, Any], words: Words) -> tuple[Card, ...]:
    """Key figures: all measures of the only structure, or the first measure of each."""
    structures, confidence = metrics["structures"], metrics["confidence"]
    if len(structures) == 1:
        record = next(iter(structures.values()))
        shown = [(typical_name(measure, words), measure, record[measure][TYPICAL[measure]]) for measure in MEASURES if measure in record]
    else:
        firsts = [(name, first_measure(record), record) for name, record in structures.items()][:MOST_CARDS]
        shown = [(f"{spoken(name)}: {typical_name(key, words)}", key, record[key][TYPICAL[key]]) for name, key, record in firsts]
    return tuple(card(*each, confidence, words) for each in shown)


def outlines_overview(metrics: Mapping[str, Any], words: Words) -> Table:
    """A row a structure: how many cases have it, and its measures."""
    keys = [measure for measure in MEASURES if any(measure in record for record in metrics["structures"].values())]
    rows = []
    for name, record in metrics["structures"].items():
        typical = {key: figure_of(record.get(key, {}), TYPICAL[key]) for key in keys}
        others = (short(typical[key], key, words) for key in keys[1:])
        cells = (count(record["n"], words), cell(typical[keys[0]], keys[0], words), *others, count(record["one_sided"], words))
        rows.append((Row(spoken(name), cells), typical[keys[0]]))
    columns = (words["structure"], words["cases"], *(typical_name(key, words) for key in keys), words["one_sided"])
    return _forest(words["structures"], columns, rows, keys[0], None, words["one_sided_note"], words)


def overview_panels(metrics: Mapping[str, Any], measured: Sequence[Measured], words: Words) -> tuple[Panel, ...]:
    """A plot a measure, a row a structure."""
    panels: list[Panel] = []
    for key in MEASURES:
        rows = [Spread(spoken(each.structure), each.value[~np.isnan(each.value)]) for each in measured if each.measure == key]
        if rows:
            axis = axis_of(np.concatenate([row.value for row in rows]), share=MEASURES[key] == "share")
            svg = strip_plot(rows, axis, words[f"axis_{key}"], words["distribution_of"].format(measure=words[key]), words)
            far = sum(beyond(row.value, axis) for row in rows)
            panels.append(Panel(words[key], "", _note(far, key, axis.high, words, first=not panels), Markup(svg)))
    return tuple(panels)


def outline_forest(metrics: Mapping[str, Any], name: str, column: str, words: Words, *, last: bool) -> Table:
    """The groups of a column for a structure: its first measure drawn, the difference to all other cases, and the other measures."""
    record = metrics["structures"][name]
    keys = [measure for measure in MEASURES if measure in record]
    rows = []
    for group in metrics["groups"][column]:
        of_group = group["structures"][name]
        rest = of_group[keys[0]]["difference"]["mean"]
        others = (short(of_group[key][TYPICAL[key]], key, words) for key in keys[1:])
        drawn_figure = of_group[keys[0]]["mean"]
        cells = (count(group["n"], words), cell(drawn_figure, keys[0], words), difference(rest, keys[0], words), *others)
        corrected = rest.get("p_holm")
        below = () if corrected is None else ((2, words["p_value"].format(value=p_value(corrected, words))),)
        rows.append((Row(words.group(column, group["value"]), cells, below=below), drawn_figure))
    columns = (
        words.column(column), words["cases"], words[f"mean_{keys[0]}"], words["difference"],
        *(typical_name(key, words) for key in keys[1:]),
    )  # fmt: skip
    fields = {
        "key": words[f"mean_{keys[0]}"],
        "tests": count(metrics["family"]["tests"], words),
        "correction": metrics["family"]["correction"],
    }
    note = words.space.join([words["outline_group_note"], words["group_difference_note"].format(**fields)]) if last else ""
    heading = words["by_group"].format(column=words.column(column).lower() if words.code == "en" else words.column(column))
    return _forest(heading, columns, rows, keys[0], record[keys[0]]["mean"]["value"], note, words)


def lowest_cases(table: pl.DataFrame, measured: Sequence[Measured], groups: Mapping[str, Any], words: Words) -> Table:
    """The cases that fare worst by the structure's first measure, with all its measures and where they are from."""
    first = measured[0]
    known = np.flatnonzero(~np.isnan(first.value))
    badness = first.value[known] if MEASURES[first.measure] == "share" else -first.value[known]
    chosen = known[np.argsort(badness, kind="stable")][:MOST_CASES]
    state = _states(table, measured, words)
    columns = [column for column in groups if column in table.columns][:3]
    rows = []
    for row in chosen:
        values = [words["no_distance"] if np.isinf(each.value[row]) else _value(each, int(row), words) for each in measured]
        sources = [words.group(column, str(table[column][int(row)] or "unknown")) for column in columns]
        rows.append(Row(short_name(str(table["case_id"][int(row)])), (*values, state[row], *sources)))
    heads = (words["case"], *(words[each.measure] for each in measured), words["outlines"], *(words.column(column) for column in columns))
    return Table(words["lowest"].format(measure=words[first.measure]), heads, tuple(rows), note=words["lowest_note"], kind="cohort")


def first_measure(record: Mapping[str, Any]) -> str:
    """The measure that stands for a structure: Dice where there is one."""
    return next(measure for measure in MEASURES if measure in record)


def typical_name(measure: str, words: Words) -> str:
    """What `TYPICAL` takes of a measure, in words."""
    return words[f"{TYPICAL[measure]}_{measure}"]


def _value(each: Measured, row: int, words: Words) -> str:
    return words["not_known"] if np.isnan(each.value[row]) else number(float(each.value[row]), each.measure, words)


def _states(table: pl.DataFrame, measured: Sequence[Measured], words: Words) -> dict[int, str]:
    """Which outlines a case has."""
    name = measured[0].structure
    if {f"{REFERENCE}.{name}", f"{PREDICTION}.{name}"} <= set(table.columns):
        keys = {(True, True): "both_outlines", (True, False): "missed_outline", (False, True): "invented_outline"}
        outlines = zip(table[f"{REFERENCE}.{name}"], table[f"{PREDICTION}.{name}"], strict=True)
        return {row: words[keys.get(pair, "no_outline")] for row, pair in enumerate(outlines)}
    empty: Bool[np.ndarray, " n"] = np.any([np.isinf(each.value) for each in measured], axis=0)
    return {row: words["one_empty" if each else "not_known"] for row, each in enumerate(empty)}


def _presence(record: Mapping[str, Any], words: Words) -> str:
    """How many cases have the structure in one outline alone, or in none."""
    said = [words["s_measured"].format(n=count(record["n"], words))]
    if record["missed"] is not None:
        said.append(words["s_missed"].format(missed=count(record["missed"], words), invented=count(record["invented"], words)))
    elif record["one_sided"]:
        said.append(words["s_one_sided"].format(count=count(record["one_sided"], words)))
    if record["absent_in_both"]:
        said.append(words["s_absent"].format(count=count(record["absent_in_both"], words)))
    return words.space.join(said)


def _panel(each: Measured, table: pl.DataFrame, metrics: Mapping[str, Any], words: Words, *, first: bool) -> Panel:
    """How a measure is spread over all cases, and over the groups of the first column that has a few."""
    everything = each.value[~np.isnan(each.value)]
    rows = [Spread(words["all_cases"], everything)]
    column = next((column for column, groups in metrics["groups"].items() if 1 < len(groups) <= MOST_ROWS), None)
    groups = groups_of(table, [column])[0] if column else ()
    rows += [Spread(words.group(group.column, group.value), each.value[each.rows(group.chosen)]) for group in groups]
    axis = axis_of(everything, share=MEASURES[each.measure] == "share")
    shown = rows if len(rows) > 1 else [Spread("", everything)]
    description = words["distribution_of"].format(measure=words[each.measure])
    figure = metrics["structures"][each.structure][each.measure][TYPICAL[each.measure]]
    caption = words[f"{TYPICAL[each.measure]}_short"].format(value=short(figure, each.measure, words))
    note = _note(beyond(everything, axis), each.measure, axis.high, words, first=first)
    return Panel(words[each.measure], caption, note, Markup(strip_plot(shown, axis, words[f"axis_{each.measure}"], description, words)))


def _note(far: int, measure: str, high: float, words: Words, *, first: bool) -> str:
    """How to read the plot, below the first one; and below each what its axis does not reach."""
    said = [words["strip_note"]] if first else []
    if far:
        said.append(words["strip_far"].format(count=count(far, words), value=number(high, measure, words)))
    return words.space.join(said)


def _figures(record: Mapping[str, Any], confidence: float, words: Words) -> Table:
    rows: list[Row] = []
    for key in MEASURES:
        if key in record:
            rows.append(Row(words[key], ("",) * 4, kind="part"))
            rows += [figure_row(words[what], key, record[key][what], words, "inner") for what in ("mean", "median")]
    columns = (words["figure"], words["value"], words["ci"].format(confidence=confidence * 100), words["cases"], words["method"])
    left_out = sum(record[key]["infinite"] for key in MEASURES if key in record)
    note = words["infinite_note"].format(count=count(left_out, words)) if left_out else ""
    return Table(words["all_figures"], columns, tuple(rows), note=note)


def _forest(heading: str, columns: tuple[str, ...], rows: Sequence[Drawn], key: str, mark: float | None, note: str, words: Words) -> Table:
    """A forest on the measure's own scale: of shares up to 1, of distances from 0."""
    if MEASURES[key] == "share":
        return forest(heading, columns, rows, words[key], mark, note)
    ends = [figure["value"] if figure["high"] is None else figure["high"] for _, figure in rows if figure["value"] is not None]
    return drawn(Table(heading, columns, (), words[key], note, kind="forest"), rows, (0.0, round_up(max(ends, default=1.0))), mark)
