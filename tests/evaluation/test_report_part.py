"""The parts of a report: flow, cohort, a thousand patients, decision curve, groups, comparison, methods, checklist."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.label import Label
from medai.evaluation.evaluate import Evaluation, evaluate
from medai.evaluation.headline import headline_of
from medai.evaluation.report.checklist import GUIDELINES, ITEMS, checklist
from medai.evaluation.report.cohort import cohort_table
from medai.evaluation.report.comparison import comparison_tables
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.figures import figures_table, matrix
from medai.evaluation.report.flow import flow_of, flow_record
from medai.evaluation.report.forest import differences, forest, group_forest
from medai.evaluation.report.format import cell, count, difference, interval, number, p_value, share
from medai.evaluation.report.method import PAPERS, interval_methods, methods, references
from medai.evaluation.report.panel import decision_panels
from medai.evaluation.report.part import Row
from medai.evaluation.report.plot import decision_plot, prevalence_plot, roc_plot
from medai.evaluation.report.prevalence import frequencies, thousands
from medai.evaluation.report.report import render
from medai.evaluation.report.text import EN, WORDS

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]
CONTEXT = ReportContext("Lungs", CohortSummary("lungs", "9f2c", found=1000, quarantined=7, excluded=3, elsewhere=788), created="2025-01-01")


def figure(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 200, "method": "Wilson"} | more


def rows_of(table: Any) -> dict[str, tuple[str, ...]]:
    return {row.name: row.cells for row in table.rows}


class Links(HTMLParser):
    """Anchors and what points to them."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        if (given.get("href") or "").startswith("#"):
            self.targets.append((given["href"] or "")[1:])


def compared(evaluation: Evaluation) -> dict[str, Any]:
    """A comparison as two models' tables give it."""
    record = {"models": {name: {"auroc": figure(value, value - 0.02, value + 0.02)} for name, value in (("ours", 0.93), ("theirs", 0.9))}}
    row = {"model": "ours", "reference": "theirs", "metric": "auroc", "primary": True, **figure(0.03, 0.01, 0.05)}
    row |= {"test": "DeLong", "p": 0.004, "p_holm": 0.008, "p_bh": 0.008, "verdict": "better"}
    worse = row | {
        "metric": "sensitivity",
        "primary": False,
        "value": -0.031,
        "low": -0.06,
        "high": 0.002,
        "p_holm": 0.4,
        "verdict": "not shown",
    }
    for name, value in (("ours", 0.9), ("theirs", 0.931)):
        record["models"][name]["sensitivity"] = figure(value, value - 0.05, value + 0.04)
    labels = {"pneumonia": record | {"kind": "binary", "n": 200, "unknown": 0, "differences": [row, worse]}}
    return {
        "models": ["ours", "theirs"], "reference": "theirs", "cases": 200, "left_out": {"ours": 0, "theirs": 4}, "confidence": 0.95,
        "metric": "auroc", "margin": 0.05, "correction": {"method": "Holm"}, "labels": labels, "macro": {},
    }  # fmt: skip


def test_the_flow_adds_up_from_the_source_to_the_decisions(binary: Scored) -> None:
    table, labels, thresholds = binary
    unknown = table.with_columns(
        pl.when(pl.int_range(pl.len()) < 5).then(None).otherwise(pl.col("target.pneumonia")).alias("target.pneumonia")
    )
    evaluation = evaluate(unknown, labels, thresholds, replicates=5)
    metrics = evaluation.metrics | {"flow": flow_record(CONTEXT.cohort, 200, refused=2)}
    flow = flow_of(metrics, CONTEXT, EN)
    found, analysed = flow.steps
    assert int(found.number.replace(",", "")) == 1000
    assert 1000 - sum(int(number) for number, _ in found.leaving) == int(analysed.number) == 200
    assert analysed.leaving == (("5", "truth not known for pneumonia"),)
    assert sum(int(branch.number) for branch in flow.branches) == 195
    for branch in flow.branches:
        assert sum(int(number) for number, _, _ in branch.leaves) == int(branch.number)
    counts = metrics["labels"]["pneumonia"]["confusion"]
    assert [[int(number) for number, _, _ in branch.leaves] for branch in flow.branches] == [
        [counts["true_positive"], counts["false_positive"]],
        [counts["true_negative"], counts["false_negative"]],
    ]


def test_an_old_record_and_a_strangers_table_have_a_flow_too(multilabel: Scored) -> None:
    metrics = evaluate(*multilabel, replicates=5).metrics
    assert [step.number for step in flow_of(metrics, CONTEXT, EN).steps] == ["1,000", "300"]
    flow = flow_of(metrics, ReportContext("T", CohortSummary("t")), EN)
    assert ([step.number for step in flow.steps], flow.branches) == (["300"], ())
    assert flow_record(CohortSummary("t"), 300) == {"analysed": 300}


def test_the_cohort_table_counts_what_the_predictions_hold(binary: Scored) -> None:
    table, labels, _ = binary
    generator = np.random.default_rng(3)
    sex = [None if i < 10 else value for i, value in enumerate(generator.choice(["F", "M"], 200))]
    table = table.with_columns(
        pl.Series("sex", sex), pl.Series("age_years", np.arange(200) % 90 + 1.0), pl.Series("view", [f"v{i % 12}" for i in range(200)])
    )
    shown = cohort_table(table, labels, EN)
    rows, ill = rows_of(shown), int(table["target.pneumonia"].sum())
    assert shown.columns == ("Characteristic", "All cases", "With pneumonia", "Without pneumonia")
    assert rows["Cases"] == ("200", str(ill), str(200 - ill))
    for name, code in (("female", "F"), ("male", "M")):
        number = (table["sex"] == code).sum()
        assert rows[name][0] == f"{number} ({number / 2:.1f}%)"
    assert rows["not recorded"][0] == "10 (5.0%)"
    ages = table.filter(pl.col("target.pneumonia") == 1)["age_years"].to_numpy()
    low, middle, high = np.percentile(ages, (25, 50, 75))
    assert rows["Age, years: median (quartiles)"][1] == f"{middle:.0f} ({low:.0f}–{high:.0f})"
    assert "others (5)" in rows  # twelve views, of which seven stand alone
    assert sum(int(cells[0].split(" ")[0]) for name, cells in rows.items() if re.match(r"v\d|others", name)) == 200


def test_the_cohort_table_of_many_labels_counts_findings_among_the_known(multilabel: Scored) -> None:
    table, labels, _ = multilabel
    rows = rows_of(cohort_table(table, labels, EN))
    events = int(table["target.nodule"].sum())
    assert rows["nodule"] == (f"{events} ({events / 280 * 100:.1f}%)",)


def test_a_thousand_patients_are_a_thousand_and_follow_bayes() -> None:
    assert frequencies(0.01, 0.9, 0.95) == (9, 1, 50, 940)
    for prevalence in (0.001, 0.013, 0.5, 0.999):
        for sensitivity, specificity in ((0.0, 1.0), (0.873, 0.641), (1.0, 0.0)):
            found, missed, alarms, cleared = frequencies(prevalence, sensitivity, specificity)
            assert found + missed + alarms + cleared == 1000 and min(found, missed, alarms, cleared) >= 0
            assert found + missed == round(1000 * prevalence)
            assert abs(found - 1000 * prevalence * sensitivity) <= 1 and abs(cleared - 1000 * (1 - prevalence) * specificity) <= 1


def test_the_prevalence_here_comes_first_and_then_those_that_were_asked_for(binary: Scored) -> None:
    record = evaluate(*binary, replicates=5).metrics["labels"]["pneumonia"]
    asked = [{"prevalence": value, "ppv": figure(value, 0.0, 0.9), "npv": figure(0.99, 0.9, 1.0)} for value in (0.01, 0.001)]
    rows = thousands(record | {"at_prevalence": asked}, EN)
    assert [row.prevalence for row in rows] == [f"{record['prevalence']['value'] * 100:.1f}% (as here)", "1%", "0.1%"]
    assert rows[1].ill == "10" and rows[1].ppv == "1.0% (0.0–90.0%)"
    assert thousands(record | {"sensitivity": figure(None)}, EN) == ()


def test_the_decision_curve_says_where_the_model_is_worth_using() -> None:
    threshold = [0.1, 0.2, 0.3, 0.4, 0.5]
    curve = {
        "threshold": threshold,
        "net_benefit": [0.30, 0.28, 0.25, 0.2, -0.01],
        "treat_all": [0.30, 0.2, 0.1, 0.0, -0.2],
        "low": [],
        "high": [],
    }
    (panel,) = decision_panels({"decision_curve": curve, "threshold": 0.3}, 0.95, EN)
    assert "It lies above both from 20% to 40%." in panel.note and "interval" not in panel.note
    useless = curve | {"net_benefit": [0.29, 0.1, 0.0, -0.1, -0.2]}
    assert "At no threshold" in decision_panels({"decision_curve": useless, "threshold": 0.3}, 0.95, EN)[0].note
    assert decision_panels({"decision_curve": {"threshold": [None], "net_benefit": [None]}, "threshold": 0.3}, 0.95, EN) == []
    assert decision_panels({"threshold": 0.3}, 0.95, EN) == []


@pytest.mark.parametrize("prevalence", [0.0005, 0.02, 0.6])
def test_a_decision_curve_stays_within_its_plot(prevalence: float) -> None:
    x = np.linspace(0.01, 0.99, 99)
    benefit, everyone = prevalence * (1 - x), prevalence - (1 - prevalence) * x / (1 - x)
    svg = decision_plot({"threshold": x.tolist(), "net_benefit": benefit.tolist(), "treat_all": everyone.tolist()}, 0.5)
    for points in re.findall(r'<poly\w+ class="(?:curve|other|band)" points="([^"]+)"', svg):
        for point in points.split(" "):
            left, top = map(float, point.split(","))
            assert 0 <= left <= 320 and 0 <= top <= 300


def test_the_predictive_values_are_drawn_where_bayes_puts_them() -> None:
    record = {
        key: figure(value)
        for key, value in (("sensitivity", 0.9), ("specificity", 0.8), ("prevalence", 0.1), ("ppv", 1 / 3), ("npv", 0.986))
    }
    svg = prevalence_plot(record)
    ppv = next(points for points in re.findall(r'class="curve" points="([^"]+)"', svg)).split(" ")
    place = ppv[round(119 * 2 / 3)].split(",")  # 10 % on an axis from 0.1 % to 100 %
    assert float(place[1]) == pytest.approx(258 - (258 - 10) / 3, abs=3)


def test_a_roc_curve_shows_the_band_and_the_reach_of_its_threshold() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(100) < 0.5
    score = np.clip(truth * 0.3 + generator.random(100) * 0.7, 0, 1)
    band = {"x": [0.0, 0.5, 1.0], "low": [0.0, 0.6, 1.0], "high": [0.3, 0.9, 1.0]}
    svg = roc_plot(score, truth, (0.8, 0.7), reach=((0.7, 0.9), (0.6, 0.8)), band=band)
    assert svg.count('class="whisker strong"') == 2 and '<polygon class="band"' in svg and 'class="under"' not in svg
    across = re.findall(r'class="whisker strong" points="([^"]+)"', svg)[0]
    left, right = (float(point.split(",")[0]) for point in across.split(" "))
    width = 320 - 12 - 46
    assert (left, right) == (pytest.approx(46 + 0.2 * width, abs=0.1), pytest.approx(46 + 0.4 * width, abs=0.1))


def test_groups_show_their_difference_to_the_rest_with_its_corrected_p(binary: Scored) -> None:
    record = {"n": 100, "events": 40, **{key: figure(0.9, 0.8, 0.95) for key in ("auroc", "sensitivity", "specificity")}}
    few = {"n": 12, "events": 1, **{key: figure(None, reason="too few events") for key in ("auroc", "sensitivity", "specificity")}}
    rest = {"difference": {"auroc": figure(-0.02, -0.05, 0.01) | {"p": 0.01, "p_holm": 0.04, "p_bh": 0.02}}}
    metrics = evaluate(*binary, replicates=5).metrics
    groups = {
        "site": [{"value": "A", "n": 100, "labels": {"pneumonia": record | rest}}, {"value": "B", "n": 12, "labels": {"pneumonia": few}}]
    }
    table = group_forest(metrics | {"groups": groups, "subgroups": {"family": {"tests": 6, "correction": "Holm"}}}, "pneumonia", "site", EN)
    assert table.columns == ("Site", "Events", "AUROC", "Difference to the rest", "Sensitivity", "Specificity")
    assert table.rows[0].cells == ("40 / 100", "0.900 (0.800–0.950)", "−0.020 (−0.050 to +0.010)", "90.0%", "90.0%")
    assert table.rows[0].second(2) == "p 0.040"
    assert table.rows[1].cells[1] == "too few events" and "6 tests" in table.note
    old = group_forest(
        metrics | {"groups": {"site": [{"value": "A", "labels": {"pneumonia": record}}]}, "subgroups": {}}, "pneumonia", "site", EN
    )
    assert "Difference" not in " ".join(old.columns)


def test_bars_share_one_scale_and_differences_stand_around_zero() -> None:
    rows = [(Row("a", ("",)), figure(0.93, 0.72, 0.99)), (Row("b", ("",)), figure(None))]
    drawn = forest("h", ("c",), rows, "AUROC")
    assert ">0.7<" in drawn.scale and ">1.0<" in drawn.scale
    assert 'class="interval"' in drawn.rows[0].bar and 'class="interval"' not in drawn.rows[1].bar
    around = differences("h", ("c",), [(Row("a", ("",)), figure(-0.03, -0.07, 0.01))], "Difference", margin=0.05)
    assert [text in around.scale for text in (">−0.1<", ">0<", ">0.1<")] == [True] * 3 and 'class="mark"' in around.rows[0].bar


def test_models_are_compared_with_differences_first(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    evaluation = replace(evaluation, metrics=evaluation.metrics | {"comparison": compared(evaluation)})
    (table,) = comparison_tables(evaluation.metrics["comparison"], EN)
    pair, first, second = table.rows
    assert (pair.name, pair.kind) == ("ours against theirs", "part")
    assert first.cells == ("0.930 (0.910–0.950)", "+0.030 (+0.010 to +0.050)", "0.008", "better") and "primary" in first.kind
    assert (first.second(0), first.second(2)) == ("0.900 (0.880–0.920)", "DeLong")
    assert second.cells[1] == "−3.1 (−6.0 to +0.2)" and second.cells[3] == "no difference shown"
    html = render(evaluation, CONTEXT)
    assert "Margin for non-inferiority in AUROC, declared beforehand: 0.05." in html
    assert "theirs: 4 cases are not in all tables" in html
    assert "pneumonia, AUROC: ours minus theirs +0.030 (95%\u00a0CI\u00a00.010" in html
    assert "pneumonia, auroc: ours minus theirs 0.030 (0.010 to 0.050), better" in headline_of(evaluation.metrics)


def test_methods_and_papers_name_what_was_run_and_nothing_else(binary: Scored, multilabel: Scored) -> None:
    alone, repeated = evaluate(*binary, replicates=20), evaluate(*multilabel, replicates=20)
    said = {name: " ".join(methods(each, CONTEXT, EN)) for name, each in (("alone", alone), ("repeated", repeated))}
    assert "draws cases with replacement, 20 times (seed 0)" in said["alone"] and "draws patients" in said["repeated"]
    assert "effective sample size" in said["repeated"] and "effective sample size" not in said["alone"]
    assert PAPERS["delong"] in references(alone.metrics, CONTEXT) and PAPERS["obuchowski"] not in references(alone.metrics, CONTEXT)
    assert PAPERS["ladder"] not in references(alone.metrics, CONTEXT)
    assert PAPERS["ladder"] in references(alone.metrics | {"seal": {"ladder": 0.01}}, CONTEXT)
    table = dict(interval_methods(alone.metrics, EN))
    assert table["DeLong, score interval"] == "AUROC" and "Sensitivity" in table["Wilson"]
    for method in table:
        assert any(method in json.dumps(record, ensure_ascii=False) for record in alone.metrics["labels"].values())


def test_the_checklist_knows_what_it_cannot_know(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    items = {item.topic: item for item in checklist(evaluation, CONTEXT, False, EN)}
    assert len(items) == len(ITEMS)
    assert items["Ethics and approval; involvement of patients"].status == "authors"
    assert items["Flow of cases"].status == "done" and items["Analysis of failures"].status == "authors"
    assert items["How often the test set was used"].status == "authors"
    told = replace(CONTEXT, looks_at_test=3, intended_use="Triage at night.", maps="gradcam")
    items = {item.topic: item for item in checklist(evaluation, told, True, EN)}
    assert "3 times" in items["How often the test set was used"].answer and items["Analysis of failures"].status == "done"
    assert items["Background, intended use and role"].answer == "Triage at night."


def numbers_of(place: int) -> set[str]:
    """Every item, with its letter, that the topics name of a guideline."""
    found: set[str] = set()
    for _, numbers, _ in ITEMS:
        for part in filter(None, numbers[place].split(", ")):
            first, _, last = part.partition("\u2013")
            number, letter = re.fullmatch(r"(\d+)([a-z]?)", first).groups()  # type: ignore[union-attr]
            if letter:
                found |= {f"{number}{chr(each)}" for each in range(ord(letter), ord((last or first)[-1]) + 1)}
            else:
                found |= {str(each) for each in range(int(first), int(last or first) + 1)}
    return found


def published(count: int, lettered: dict[int, int]) -> set[str]:
    """Items of a list whose lettered ones have so many parts."""
    return {f"{n}{chr(97 + part)}" for n, parts in lettered.items() for part in range(parts)} | {
        str(n) for n in range(1, count + 1) if n not in lettered
    }


@pytest.mark.parametrize(
    ("name", "count", "lettered"),
    [
        ("STARD 2015", 30, {10: 2, 12: 2, 13: 2, 21: 2}),
        ("STARD-AI", 40, {15: 4, 16: 3, 17: 2, 26: 2, 40: 2}),
        ("CLAIM 2020", 42, {}),
        ("CLAIM 2024", 44, {}),
        ("TRIPOD+AI", 27, {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}),
    ],
)
def test_the_checklist_names_every_item_of_the_published_lists_and_no_other(name: str, count: int, lettered: dict[int, int]) -> None:
    assert numbers_of(GUIDELINES.index(name)) == published(count, lettered)


@pytest.mark.parametrize(
    ("topic", "numbers"),
    [
        ("registration", ("28", "36", "40", "34", "18d")),
        ("flow", ("19", "24", "33", "35", "20a")),
        ("missing", ("16", "20", "13", "12", "11")),
        ("failures", ("", "23", "37", "39", "")),
        ("size", ("18", "22", "19", "21", "10")),
        ("funding", ("30", "38, 39", "42", "44", "18a, 18b")),
    ],
)
def test_topics_have_the_numbers_of_each_edition(topic: str, numbers: tuple[str, ...]) -> None:
    assert {key: given for key, given, _ in ITEMS}[topic] == numbers


def test_the_report_says_which_numbers_were_not_held_against_the_published_list(binary: Scored) -> None:
    html = render(evaluate(*binary, replicates=5), CONTEXT)
    for name in GUIDELINES:
        assert f'<th scope="col">{name}</th>' in html
    assert "numbering to be checked against the published checklist" in html and "STARD-AI, CLAIM 2020" in html


def test_the_contents_point_to_what_is_there(multilabel: Scored, binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    full = replace(evaluation, metrics=evaluation.metrics | {"comparison": compared(evaluation)})
    for each in (evaluate(*multilabel, replicates=5), evaluation, full):
        links = Links()
        links.feed(render(each, CONTEXT))
        assert len(links.ids) == len(set(links.ids)) and set(links.targets) <= set(links.ids) and len(links.targets) >= 6
    assert "comparison" in links.targets


def test_a_report_of_an_older_record_needs_none_of_the_newer_keys(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    old = {"schema", "cases", "patients", "confidence", "seed", "replicates", "macro", "groups", "groups_left_out"}
    kept = {"kind", "n", "events", "unknown", "threshold", "auroc", "average_precision", "sensitivity", "specificity", "ppv", "npv"}
    kept |= {"accuracy", "prevalence", "confusion", "ece", "mce", "brier", "warning"}
    metrics = {key: value for key, value in evaluation.metrics.items() if key in old}
    metrics["labels"] = {"pneumonia": {key: value for key, value in evaluation.metrics["labels"]["pneumonia"].items() if key in kept}}
    for language in WORDS:
        html = render(replace(evaluation, metrics=metrics), CONTEXT, language=language)
        assert WORDS[language]["decision_curve"] + "<span>" not in html


def test_a_sealed_set_shows_no_case_no_curve_and_no_suppressed_number(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    record = evaluation.metrics["labels"]["pneumonia"]
    blank = {"value": None, "low": None, "high": None, "n": None, "method": "Wilson", "reason": "suppressed: fewer than 11"}
    hidden = record | {
        "events": None,
        "confusion": dict.fromkeys(record["confusion"]),
        "sensitivity": blank,
        "specificity": blank,
        "ppv": blank,
    }
    seal = {
        "id": "f00d",
        "metric": "auroc:pneumonia",
        "attempt": 2,
        "budget": 5,
        "released": True,
        "best": 0.9,
        "ladder": None,
        "withheld": ["a"],
    }
    secret = evaluation.table.drop("target.pneumonia")
    for labels, facts in (({"pneumonia": hidden}, seal), ({}, seal | {"ladder": 0.01})):
        metrics = evaluation.metrics | {"labels": labels, "groups": {}, "subgroups": {}, "seal": facts}
        sealed = replace(evaluation, table=secret, metrics=metrics)
        for language in WORDS:
            html = render(sealed, CONTEXT, lambda case_id: np.zeros((1, 8, 8)), language=language)
            assert "data:image" not in html and 'class="id"' not in html and WORDS[language]["roc"] + "<span>" not in html
            assert WORDS[language]["seal_of"].format(attempt=2, budget=5) in html
        assert "withheld" in headline_of(metrics) or not labels
        assert "attempt 2 of 5, best released auroc:pneumonia 0.900" in headline_of(metrics)


def test_suppressed_counts_are_said_to_be_not_known() -> None:
    rows = matrix(("no", "yes"), [[None, 4], [1234, 6]], 0.5, EN).rows
    assert rows[0][1] == (("–", None, True), ("4", None, False))
    assert rows[1][1][0][0] == "1,234" and rows[1][1][0][1] == pytest.approx(1234 / 1240)
    assert (count(None), count("<11"), count(1200)) == ("–", "<11", "1,200")


def test_the_table_of_figures_has_its_parts_and_says_why_a_figure_is_missing() -> None:
    record: Mapping[str, Any] = {
        "kind": "binary", "auroc": figure(0.9, 0.8, 0.95), "sensitivity": figure(None, reason="no positive cases"), "brier": figure(0.1),
        "partial_auroc": figure(0.07, 0.06, 0.08, specificity=[1, 0.9], mcclish=figure(0.8, 0.7, 0.9)),
        "likelihood_ratio_positive": figure(12.34, 8.0, 19.0), "calibration_intercept": figure(-0.04, -0.3, 0.2),
        "spiegelhalter": {"z": -2.5, "p": 0.0124, "n": 200, "method": "Spiegelhalter"},
        "brier_parts": {"reliability": 0.01, "resolution": 0.1, "uncertainty": 0.2, "within": -0.01, "method": "m"},
    }  # fmt: skip
    table = figures_table(record, 0.95, EN)
    rows = rows_of(table)
    assert [row.name for row in table.rows if row.kind == "part"] == ["Discrimination", "At the frozen threshold", "Calibration"]
    assert rows["Partial AUROC, specificity 1 to 0.9"][:2] == ("0.070", "0.060–0.080")
    assert rows["Sensitivity"][3] == "Wilson (no positive cases)"
    assert rows["Positive likelihood ratio"][:2] == ("12.3", "8.00–19.0")
    assert rows["Calibration intercept"][:2] == ("−0.040", "−0.300 to 0.200")
    assert rows["Spiegelhalter’s z"][3] == "p 0.012"
    assert sum(row.kind == "inner" for row in table.rows) == 4


def test_numbers_are_written_as_journals_write_them() -> None:
    assert [p_value(value) for value in (0.00004, 0.0321, 0.5, None)] == ["<0.001", "0.032", "0.50", "–"]
    assert [share(value) for value in (0.001, 0.1, 0.125)] == ["0.1%", "10%", "12.5%"]
    assert number(0.9746, "sensitivity") == "97.5%" and number(-0.1234) == "−0.123"
    assert interval(figure(0.9, 0.8, 0.95), "ppv", 0.9) == "90%\u00a0CI\u00a080.0\u2060–\u206095.0%"
    assert interval(figure(0.9), "ppv", 0.95) == "no interval"
    assert cell(figure(None, reason="too few events"), "auroc") == "too few events"
    assert difference(figure(-0.013, -0.03, 0.004), "auroc") == "−0.013 (−0.030 to +0.004)"
