"""Subgroups: differences to the rest, families of tests, the worst group, gaps between groups."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2_contingency, norm

from medai.core.label import Label
from medai.evaluation.auroc import auroc, auroc_figure, newcombe, paired_auroc, placements
from medai.evaluation.bootstrap import bootstrap, rank_statistic
from medai.evaluation.clustered import clustered_auroc
from medai.evaluation.group import groups_metrics, groups_of
from medai.evaluation.interval import Intervals
from medai.evaluation.multiplicity import benjamini_hochberg, holm
from medai.evaluation.patient import Patients, patients_of
from medai.evaluation.proportion import wilson
from medai.evaluation.subgroup import subgroups_metrics
from medai.evaluation.subgroup_difference import difference, difference_record
from medai.evaluation.subgroup_estimate import (
    Estimate,
    Lacking,
    auroc_estimate,
    covariances,
    estimates,
    figure_of,
    in_the_large_estimate,
    mean_estimate,
    proportion_estimate,
)
from medai.evaluation.subgroup_gap import expected_maximum, gap_record, pair_confidence, spreads_of
from medai.evaluation.table import label_data
from medai.evaluation.weak_calibration import calibration_line

LABEL = Label("x", "binary", ("no", "yes"))
GRADE = Label("g", "multiclass", ("a", "b", "c"))
Row = dict[str, Any]


def alone(n: int) -> Patients:
    """Every case a patient of its own."""
    return Patients(np.arange(n), n, n, 0)


def of_shares(*shares: tuple[int, int]) -> list[Estimate]:
    """Proportions hits/cases in groups without common patients."""
    patients = alone(sum(cases for _, cases in shares))
    parts, start = [], 0
    for hits, cases in shares:
        part = proportion_estimate(np.arange(cases) < hits, np.arange(start, start + cases), patients)
        assert isinstance(part, Estimate)
        parts.append(part)
        start += cases
    return parts


def scored(n: int = 600, *, repeat: bool = False, seed: int = 0) -> pl.DataFrame:
    """Cases of three sites, two sexes, known ages; site C is worse."""
    generator = np.random.default_rng(seed)
    truth, site = generator.random(n) < 0.35, generator.choice(["A", "B", "C"], n)
    shift = np.where(site == "C", 0.7, 2.2)
    probability = 1 / (1 + np.exp(-(generator.normal(size=n) + shift * truth - 1)))
    patient = generator.integers(0, n // 3, n) if repeat else np.arange(n)
    return pl.DataFrame(
        {
            "case_id": [f"c{i:04}" for i in range(n)],
            "patient_id": [f"p{i}" for i in patient],
            "site": site,
            "sex": generator.choice(["F", "M"], n),
            "age_years": generator.uniform(0, 95, n),
            "target.x": truth.astype(int),
            "probability.x": probability,
        }
    )


def run(table: pl.DataFrame, columns: list[str], label: Label = LABEL) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    groups, _ = groups_of(table, columns)
    data, intervals = [label_data(table, label)], Intervals(patients_of(table), {})
    thresholds = {"x": 0.5} if label.kind == "binary" else {}
    rows = groups_metrics(groups, data, thresholds, intervals)
    found = subgroups_metrics(rows, groups, data, thresholds, intervals)
    json.dumps([rows, found], allow_nan=False)
    return rows, found


def row_of(rows: dict[str, list[Row]], column: str, value: str, label: str = "x") -> Row:
    return next(row for row in rows[column] if row["value"] == value)["labels"][label]


def test_the_difference_of_proportions_is_newcombes_published_example() -> None:
    first, second = of_shares((56, 70), (48, 80))  # Newcombe 1998, Stat Med 17:873, table II, example (a), method 10
    figure, p = difference(first, second, 0.0, 0.95)
    assert figure.value == pytest.approx(0.2)
    assert (figure.low, figure.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert p == pytest.approx(chi2_contingency([[56, 14], [48, 32]], correction=False).pvalue, rel=1e-12)


@pytest.mark.parametrize(("hits", "expected"), [((10, 10), 1.0), ((0, 0), 1.0)])
def test_equal_certain_proportions_have_p_1(hits: tuple[int, int], expected: float) -> None:
    first, second = of_shares((hits[0], 10), (hits[1], 10))
    figure, p = difference(first, second, 0.0, 0.95)
    assert (figure.value, p) == (0, expected)
    assert figure.low is not None and figure.high is not None and figure.low < -0.2 and figure.high > 0.2


def test_the_difference_of_aurocs_is_procs_unpaired_test(shared_oracles: Path) -> None:
    rows = list(csv.DictReader((shared_oracles / "asah.csv").read_text().splitlines()))
    truth = np.array([row["outcome"] == "Poor" for row in rows])
    n = len(rows)
    markers = [np.array([float(row[name]) for row in rows]) for name in ("wfns", "s100b")]
    first, second = (auroc_estimate(score, truth, np.arange(n) + n * i, alone(2 * n)) for i, score in enumerate(markers))
    assert isinstance(first, Estimate) and isinstance(second, Estimate)
    figure, p = difference(first, second, 0.0, 0.95)
    assert figure.value is not None
    assert figure.value / math.sqrt(first.variance + second.variance) == pytest.approx(1.43490640926908, abs=1e-9)
    assert p == pytest.approx(0.152825378808796, abs=1e-9)


def test_a_group_is_compared_with_all_other_cases() -> None:
    table = scored()
    rows, _ = run(table, ["site"])
    truth, score = table["target.x"].to_numpy() == 1, table["probability.x"].to_numpy()
    inside = (table["site"] == "C").to_numpy()
    record = row_of(rows, "site", "C")["difference"]
    assert record["auroc"]["value"] == pytest.approx(
        auroc(score[inside], truth[inside]).value - auroc(score[~inside], truth[~inside]).value
    )
    assert record["auroc"]["p"] < 1e-3 and record["auroc"]["high"] < 0
    called = score >= 0.5
    assert record["sensitivity"]["value"] == pytest.approx(called[truth & inside].mean() - called[truth & ~inside].mean())
    counts = [[int((called & truth & side).sum()), int((~called & truth & side).sum())] for side in (inside, ~inside)]
    assert record["sensitivity"]["p"] == pytest.approx(chi2_contingency(counts, correction=False).pvalue, rel=1e-9)
    assert record["specificity"]["n"] == int((~truth).sum())


def test_the_two_groups_of_a_column_are_one_test_and_mirror_each_other() -> None:
    rows, found = run(scored(), ["sex"])
    female, male = (row_of(rows, "sex", value)["difference"] for value in ("F", "M"))
    for metric in ("auroc", "sensitivity", "specificity"):
        assert female[metric]["value"] == pytest.approx(-male[metric]["value"])
        assert female[metric]["low"] == pytest.approx(-male[metric]["high"])
        assert female[metric]["p"] == pytest.approx(male[metric]["p"])
    assert found["family"]["tests"] == 3


def test_p_values_are_adjusted_over_the_whole_family() -> None:
    rows, found = run(scored(), ["site", "sex", "site*sex"])
    records = [figure for column in rows.values() for row in column for figure in row["labels"]["x"]["difference"].values()]
    tests = {f"{record['p']:.9g}": record for record in records}
    p = np.array([record["p"] for record in tests.values()])
    assert found["family"]["tests"] == len(tests) == 3 * (3 + 1 + 6)
    for key, adjusted in (("p_holm", holm(p)), ("p_bh", benjamini_hochberg(p))):
        assert [record[key] for record in tests.values()] == pytest.approx(adjusted.tolist())
    assert all(record["p_holm"] >= record["p_bh"] >= record["p"] for record in records)


def test_few_events_give_words_in_the_group_and_in_the_rest() -> None:
    table = scored(200).with_columns(site=pl.Series(["A"] * 8 + ["B"] * 192))
    rows, found = run(table, ["site"])
    small, large = (row_of(rows, "site", value) for value in ("A", "B"))
    for metric in ("auroc", "sensitivity", "specificity"):
        assert small[metric]["value"] is None and small[metric]["reason"] == "too few events"
        assert small["difference"][metric] == {
            **small["difference"][metric],
            "value": None,
            "p": None,
            "p_holm": None,
            "reason": "too few events",
        }
        assert large[metric]["value"] is not None
        assert large["difference"][metric]["reason"] == "too few events in the rest"
    assert small["calibration_in_the_large"]["reason"] == "too few events"
    assert found["family"]["tests"] == 0
    assert found["worst"]["x"] == {}
    gap = found["gaps"]["site"]["x"]["tpr"]
    assert (gap["value"], gap["left_out"], gap["reason"]) == (None, ["A"], "fewer than two groups have enough events")


def test_a_column_of_one_value_has_no_rest() -> None:
    rows, _ = run(scored().with_columns(site=pl.lit("A")), ["site"])
    assert row_of(rows, "site", "A")["difference"]["auroc"]["reason"] == "no other cases"


def test_age_bands_keep_the_order_of_ages_and_other_groups_that_of_sizes() -> None:
    rows, _ = run(scored(), ["age_band", "site"])
    assert [row["value"] for row in rows["age_band"]] == ["0-17", "18-39", "40-64", "65-79", "80+"]
    assert [row["n"] for row in rows["site"]] == sorted((row["n"] for row in rows["site"]), reverse=True)


def test_the_variance_by_patients_is_obuchowskis() -> None:
    table = scored(400, repeat=True)
    patients, data = patients_of(table), label_data(table, LABEL)
    part = auroc_estimate(data.probability, data.target == 1, data.rows, patients)
    expected = clustered_auroc(data.probability, data.target == 1, patients.cluster)
    assert isinstance(part, Estimate)
    assert (part.value, part.variance) == (pytest.approx(expected.value, abs=1e-14), pytest.approx(expected.variance, rel=1e-12))


def test_the_figures_of_a_group_are_those_of_its_cases_alone() -> None:
    for repeat in (False, True):
        table = scored(400, repeat=repeat)
        rows, _ = run(table, ["site"])
        inside = (table["site"] == "B").to_numpy()
        patients, part = patients_of(table), label_data(table, LABEL).take(inside)
        expected = Intervals(patients, {}).auroc(part.probability, part.target == 1, part.rows).to_dict()
        found = row_of(rows, "site", "B")["auroc"]
        assert (found["method"], found["n"]) == (expected["method"], expected["n"])
        assert (found["value"], found["low"], found["high"]) == pytest.approx((expected["value"], expected["low"], expected["high"]))


def test_a_patient_on_both_sides_makes_the_difference_surer_or_less_so() -> None:
    table = scored(900, repeat=True)
    patients, data = patients_of(table), label_data(table, LABEL)
    inside = (table["sex"] == "F").to_numpy()
    first, second = (estimates(data.take(side), 0.5, patients)["auroc"] for side in (inside, ~inside))
    assert isinstance(first, Estimate) and isinstance(second, Estimate)
    covariance = covariances([first, second], patients)[0, 1]
    figure, p = difference(first, second, covariance, 0.95)
    statistics = {
        (name,): rank_statistic(data.probability[side], data.target[side] == 1, data.rows[side])
        for name, side in (("in", inside), ("out", ~inside))
    }
    draws = {name: drawn[:, 0] for (name,), drawn in bootstrap(patients.cluster, statistics, 4000, 0).items()}
    spread = (draws["in"] - draws["out"]).std()
    assert covariance != 0
    assert covariance == pytest.approx(np.cov(draws["in"], draws["out"])[0, 1], abs=4 * draws["in"].var() / np.sqrt(4000))
    assert figure.low is not None and figure.high is not None and p is not None
    assert (figure.high - figure.low) / (2 * 1.959964) == pytest.approx(spread, rel=0.06)
    assert p == pytest.approx(2 * norm.sf(abs(figure.value) / spread), abs=0.05)


def test_copies_of_every_case_on_both_sides_make_no_difference_at_all() -> None:
    table = scored(300)
    both = pl.concat([table.with_columns(pl.col("case_id") + side, side=pl.lit(side)) for side in "ab"])
    patients, data = patients_of(both), label_data(both, LABEL)
    inside = (both["side"] == "a").to_numpy()
    parts = [estimates(data.take(side), 0.5, patients) for side in (inside, ~inside)]
    for metric in ("auroc", "sensitivity", "specificity"):
        first, second = (part[metric] for part in parts)
        assert isinstance(first, Estimate) and isinstance(second, Estimate)
        matrix = covariances([first, second], patients)
        assert matrix[0, 1] == pytest.approx(matrix[0, 0], rel=0.02)
    record = difference_record(parts[0]["auroc"], parts[1]["auroc"], Intervals(patients, {}), alone=False)
    assert record["value"] == 0 and (record["low"] is None or record["high"] < 0.03)
    record = difference_record(parts[0]["sensitivity"], parts[1]["sensitivity"], Intervals(patients, {}), alone=False)
    assert record["value"] == 0 and record["p"] == 1
    assert record["high"] - record["low"] < 0.05  # 0.19 were the two sides independent


def test_the_same_estimate_twice_has_no_variance_of_its_difference() -> None:
    truth = np.arange(60) % 2 == 0
    part = auroc_estimate(truth + np.random.default_rng(0).normal(size=60), truth, np.arange(60), alone(60))
    assert isinstance(part, Estimate)
    figure, p = difference(part, part, part.variance, 0.95)
    assert (figure.value, figure.low, p) == (0, None, None)
    assert figure.reason == "the data show no variance of the difference"


def test_differences_of_clustered_data_hold_their_level() -> None:
    generator, rejected, covered, repeats = np.random.default_rng(5), 0, 0, 300
    for _ in range(repeats):
        patient = np.repeat(np.arange(120), 3)
        effect = np.repeat(generator.normal(size=120), 3)
        truth = np.repeat(generator.random(120) < 0.4, 3)
        score = 1 / (1 + np.exp(-(effect + 0.4 * generator.normal(size=360) + truth)))
        table = pl.DataFrame(
            {
                "case_id": [f"c{i:03}" for i in range(360)], "patient_id": [f"p{i}" for i in patient],
                "side": ["a" if i < 60 else "b" for i in patient], "target.x": truth.astype(int), "probability.x": score,
            }
        )  # fmt: skip
        patients, data = patients_of(table), label_data(table, LABEL)
        inside = (table["side"] == "a").to_numpy()
        parts = [estimates(data.take(side), 0.5, patients)["auroc"] for side in (inside, ~inside)]
        record = difference_record(parts[0], parts[1], Intervals(patients, {}), alone=False)
        rejected += record["p"] < 0.05
        covered += record["low"] <= 0 <= record["high"]
    assert rejected == repeats - covered  # interval and p say the same
    assert rejected / repeats < 0.09  # 0.05 with a standard error of 0.013; the naive test rejects above 0.2


def test_perfect_separation_in_a_group_keeps_a_wide_difference() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(60) % 2 == 0
    perfect = auroc_estimate(truth + 0.01 * generator.random(60), truth, np.arange(60), alone(160))
    usual_truth = np.arange(100) % 2 == 0
    usual = auroc_estimate(usual_truth + generator.normal(size=100), usual_truth, np.arange(60, 160), alone(160))
    assert isinstance(perfect, Estimate) and isinstance(usual, Estimate)
    assert figure_of(perfect, 0.95).low == pytest.approx(newcombe(1.0, 30, 30)[0])
    figure, p = difference(perfect, usual, 0.0, 0.95)
    assert figure.low is not None and figure.value is not None
    assert figure.value - figure.low > math.sqrt(usual.variance) * 1.96
    assert (p < 0.05) == (figure.low > 0)


def test_calibration_in_the_large_is_where_the_residuals_vanish() -> None:
    table = scored()
    rows, _ = run(table, ["site"])
    part = label_data(table.filter(pl.col("site") == "C"), LABEL)
    shift = row_of(rows, "site", "C")["calibration_in_the_large"]["value"]
    logit = np.log(part.probability / (1 - part.probability))
    assert (1 / (1 + np.exp(-(logit + shift)))).mean() == pytest.approx(part.target.mean(), abs=1e-9)


def test_the_influences_add_up_to_nothing_and_make_the_variance() -> None:
    table = scored(500, repeat=True)
    patients, data = patients_of(table), label_data(table, LABEL)
    intervals = Intervals(patients, {})
    parts = [
        *estimates(data, 0.5, patients).values(),
        in_the_large_estimate(data, intervals),
        mean_estimate(data.probability, data.rows, patients),
    ]
    for part in parts:
        assert isinstance(part, Estimate) and part.influence is not None
        assert part.influence.sum() == pytest.approx(0, abs=1e-9)
        totals = patients.totals(part.rows, part.influence)
        assert float(totals @ totals) == pytest.approx(part.variance, rel=0.06)


def test_the_worst_group_is_found_and_its_interval_allows_for_the_choice() -> None:
    table = scored()
    rows, found = run(table, ["site", "sex"])
    worst = found["worst"]["x"]["auroc"]
    plain = row_of(rows, "site", "C")["auroc"]
    assert (worst["column"], worst["group"], worst["groups"]) == ("site", "C", 5)
    groups = [("site", "A"), ("site", "B"), ("site", "C"), ("sex", "F"), ("sex", "M")]
    assert worst["figure"]["value"] == plain["value"] == min(row_of(rows, *group)["auroc"]["value"] for group in groups)
    of_group = table.filter(pl.col("site") == "C")
    wider = auroc_figure(of_group["probability.x"].to_numpy(), of_group["target.x"].to_numpy() == 1, 1 - 0.05 / 5)
    assert (worst["figure"]["low"], worst["figure"]["high"]) == pytest.approx((wider.low, wider.high), abs=1e-9)
    assert worst["overall"] == pytest.approx(auroc(table["probability.x"].to_numpy(), table["target.x"].to_numpy() == 1).value)
    assert worst["figure"]["value"] < worst["expected_if_equal"] < worst["overall"]
    sensitivity = found["worst"]["x"]["sensitivity"]["figure"]
    truth, called = table["target.x"].to_numpy() == 1, table["probability.x"].to_numpy() >= 0.5
    inside = (table["site"] == "C").to_numpy() & truth
    assert (sensitivity["low"], sensitivity["high"]) == pytest.approx(wilson(int(called[inside].sum()), int(inside.sum()), 0.99))


def test_cases_of_unknown_group_are_shown_but_are_no_worst_group() -> None:
    table = scored().with_columns(site=pl.when(pl.col("site") == "C").then(None).otherwise(pl.col("site")))
    rows, found = run(table, ["site"])
    assert "unknown" in [row["value"] for row in rows["site"]]
    assert found["worst"]["x"]["auroc"]["group"] != "unknown"
    assert found["gaps"]["site"]["x"]["tpr"]["groups"] == 2


def test_the_gap_of_two_groups_is_newcombes_interval_folded_at_zero() -> None:
    patients = alone(150)
    record = gap_record(dict(zip("ab", of_shares((56, 70), (48, 80)), strict=True)), patients, 0.95)
    assert record["value"] == pytest.approx(0.2)
    assert (record["low"], record["high"]) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert (record["highest"], record["lowest"], record["groups"]) == ("a", "b", 2)
    equal = gap_record(dict(zip("ab", of_shares((60, 70), (60, 80)), strict=True)), patients, 0.95)
    assert equal["low"] == 0
    flipped = gap_record(dict(zip("ab", of_shares((56, 70), (48, 80)), strict=True)), patients, 0.95, of="complement")
    assert (flipped["highest"], flipped["lowest"], flipped["value"]) == ("b", "a", record["value"])


def test_gaps_are_those_of_true_and_false_positive_rates() -> None:
    table = scored()
    _, found = run(table, ["site"])
    truth, called = table["target.x"].to_numpy() == 1, table["probability.x"].to_numpy() >= 0.5
    site = table["site"].to_numpy()
    for key, chosen in (("tpr", truth), ("fpr", ~truth)):
        rates = {name: called[chosen & (site == name)].mean() for name in "ABC"}
        gap = found["gaps"]["site"]["x"][key]
        assert gap["value"] == pytest.approx(max(rates.values()) - min(rates.values()))
        assert (gap["highest"], gap["lowest"]) == (max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__))
        assert 0 <= gap["low"] <= gap["value"] <= gap["high"]
    rows, _ = run(table, ["site"])
    shifts = [row["labels"]["x"]["calibration_in_the_large"]["value"] for row in rows["site"]]
    assert found["gaps"]["site"]["x"]["calibration"]["value"] == pytest.approx(max(shifts) - min(shifts))


def test_the_gap_of_equal_groups_starts_at_zero_as_often_as_promised() -> None:
    generator, above, wide, repeats = np.random.default_rng(1), 0, 0, 400
    expected = []
    for _ in range(repeats):
        parts = of_shares(*[(int(generator.binomial(n, 0.8)), n) for n in (50, 80, 120, 200, 60)])
        record = gap_record(dict(zip("abcde", parts, strict=True)), alone(510), 0.95)
        above += record["low"] > 0
        wide += record["value"]
        expected.append(record["expected_if_equal"])
    assert above / repeats < 0.08  # at most 0.05 but for a standard error of 0.011
    assert wide / repeats == pytest.approx(np.mean(expected), rel=0.1)  # the gap that chance alone makes


def test_the_expected_extreme_is_that_of_a_simulation() -> None:
    errors = np.array([0.02, 0.05, 0.01, 0.03])
    drawn = np.random.default_rng(2).normal(size=(200_000, 4)) * errors
    assert expected_maximum(errors) == pytest.approx(drawn.max(axis=1).mean(), abs=3e-4)
    assert expected_maximum(np.array([1.0, 1.0, 1.0])) == pytest.approx(3 / (2 * math.sqrt(math.pi)), abs=1e-6)
    assert expected_maximum(np.zeros(3)) == 0


def test_the_confidence_of_a_pair_follows_the_studentised_range() -> None:
    assert pair_confidence(2, 0.95) == 0.95
    assert norm.ppf(0.5 + pair_confidence(3, 0.95) / 2) * math.sqrt(2) == pytest.approx(3.314, abs=1e-3)  # tables: q(3, infinity) = 3.31
    assert norm.ppf(0.5 + pair_confidence(10, 0.95) / 2) * math.sqrt(2) == pytest.approx(4.474, abs=1e-3)  # 4.47


def test_a_certain_group_still_has_a_spread() -> None:
    (certain,) = of_shares((20, 20))
    assert certain.variance == 0
    assert 0.01 < float(spreads_of([certain])[0]) < 0.1


def graded(n: int = 900, *, repeat: bool = False) -> pl.DataFrame:
    generator = np.random.default_rng(3)
    grade, site = generator.integers(0, 3, n), generator.choice(["A", "B"], n)
    score = np.exp(generator.normal(size=(n, 3)) + np.where(site == "A", 2.0, 0.8)[:, None] * (np.arange(3) == grade[:, None]))
    score /= score.sum(axis=1, keepdims=True)
    columns = {f"probability.g.{name}": score[:, i] for i, name in enumerate("abc")}
    patient = [f"p{i // 2 if repeat else i}" for i in range(n)]
    return pl.DataFrame(
        {
            "case_id": [f"c{i:04}" for i in range(n)],
            "patient_id": patient,
            "site": site,
            "target.g": [*map("abc".__getitem__, grade)],
            **columns,
        }
    )


@pytest.mark.parametrize("repeat", [False, True])
def test_labels_of_several_classes_have_accuracy_and_macro_auroc(repeat: bool) -> None:
    table = graded(repeat=repeat)
    rows, found = run(table, ["site"], GRADE)
    part = row_of(rows, "site", "B", "g")
    data = label_data(table.filter(pl.col("site") == "B"), GRADE)
    values = [auroc(data.probability[:, i], data.target == i).value for i in range(3)]
    assert part["macro_auroc"]["value"] == pytest.approx(np.mean(values))
    assert part["macro_auroc"]["low"] < np.mean(values) < part["macro_auroc"]["high"]
    assert part["accuracy"]["value"] == pytest.approx((data.probability.argmax(axis=1) == data.target).mean())
    assert part["difference"]["accuracy"]["p"] < 0.01 and part["difference"]["macro_auroc"]["p"] < 0.01
    assert "events" not in part
    assert found["worst"]["g"]["macro_auroc"]["group"] == "B"
    assert found["gaps"]["site"]["g"]["accuracy"]["lowest"] == "B"


def test_the_variance_of_a_macro_auroc_is_that_of_the_bootstrap() -> None:
    table = graded()
    data = label_data(table, GRADE)
    part = estimates(data, None, patients_of(table))["macro_auroc"]
    assert isinstance(part, Estimate)
    generator, values = np.random.default_rng(4), []
    for _ in range(400):
        picked = generator.integers(0, len(table), len(table))
        values.append(np.mean([auroc(data.probability[picked, i], data.target[picked] == i).value for i in range(3)]))
    assert math.sqrt(part.variance) == pytest.approx(np.std(values), rel=0.12)


def test_a_paired_difference_on_the_same_cases_agrees_with_delong() -> None:
    """The covariance of influences, here of two scores on the same cases, is DeLong's."""
    generator = np.random.default_rng(6)
    truth = generator.random(300) < 0.4
    scores = [truth + generator.normal(size=300) for _ in range(2)]
    patients = Patients(np.append(np.arange(300), 0), 300, 300, 0)  # one more case, so that patients repeat
    parts = [auroc_estimate(score, truth, np.arange(300), patients) for score in scores]
    assert isinstance(parts[0], Estimate) and isinstance(parts[1], Estimate)
    expected = paired_auroc(scores[0], scores[1], truth)
    assert covariances([parts[0], parts[1]], patients)[0, 1] == pytest.approx(expected.covariance, rel=0.02, abs=1e-6)
    assert placements(scores[0], truth)[0].mean() == pytest.approx(parts[0].value)


def test_nine_events_are_lacking_and_ten_are_not() -> None:
    for events, kind in ((9, Lacking), (10, Estimate)):
        truth = np.arange(60) < events
        assert isinstance(auroc_estimate(np.random.default_rng(0).random(60), truth, np.arange(60), alone(60)), kind)
        assert isinstance(proportion_estimate(np.arange(events) % 2 == 0, np.arange(events), alone(60)), kind)


def test_one_patient_with_all_events_is_no_certainty() -> None:
    table = scored(200, repeat=True).with_columns(
        patient_id=pl.when(pl.col("target.x") == 1).then(pl.lit("one")).otherwise(pl.col("patient_id"))
    )
    rows, _ = run(table.with_columns(site=pl.lit("A")), ["site"])
    figure = row_of(rows, "site", "A")["auroc"]
    assert "Newcombe" in figure["method"]
    assert figure["high"] - figure["low"] > 0.3


def test_each_group_has_its_calibration_line_with_a_warning_where_it_has_few_events() -> None:
    table = scored(700)
    rows, _ = run(table, ["site", "sex"])
    warned = set()
    for column in ("site", "sex"):
        for row in rows[column]:
            of_group, record = table.filter(pl.col(column) == row["value"]), row["labels"]["x"]
            probability, truth = of_group["probability.x"].to_numpy(), of_group["target.x"].to_numpy() == 1
            fewest = min(truth.sum(), (~truth).sum())
            for name, expected in zip(("calibration_slope", "calibration_intercept"), calibration_line(probability, truth), strict=True):
                assert record[name]["value"] == pytest.approx(expected.value, abs=1e-9)
                assert (record[name]["low"], record[name]["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
                assert ("warning" in record[name]) == (fewest < 100)
                warned.add(fewest < 100)
    assert warned == {False, True}


def test_a_group_with_hardly_an_event_has_no_calibration_line() -> None:
    table = scored().with_row_index().with_columns(site=pl.when(pl.col("index") < 15).then(pl.lit("tiny")).otherwise(pl.col("site")))
    rows, _ = run(table.drop("index"), ["site"])
    assert row_of(rows, "site", "tiny")["calibration_slope"] == {
        "value": None, "low": None, "high": None, "n": 15, "method": "calibration slope", "reason": "too few events"
    }  # fmt: skip
