"""The evaluation of whole tables: binary, multi-label, multi-class, ordinal, and the degenerate ones."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import auroc_figure
from medai.evaluation.evaluate import evaluate
from medai.evaluation.proportion import wilson

LABEL = (Label("pneumonia", "binary", ("normal", "pneumonia")),)
Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]


def figures(value: Any) -> list[dict[str, Any]]:
    """Every figure in the metrics."""
    if isinstance(value, dict):
        return [value] if {"value", "low", "high"} <= set(value) else [found for part in value.values() for found in figures(part)]
    return [found for part in value for found in figures(part)] if isinstance(value, list) else []


def test_every_figure_carries_n_and_method_and_nothing_is_nan(binary: Scored, multilabel: Scored, ordinal: Scored) -> None:
    for table, labels, thresholds in (binary, multilabel, ordinal):
        metrics = evaluate(table, labels, thresholds, replicates=50).metrics
        json.dumps(metrics, allow_nan=False)
        assert len(figures(metrics)) > 8
        for figure in figures(metrics):
            assert figure["method"]
            assert isinstance(figure["n"], int)
            if figure["value"] is None:
                assert figure["reason"]
            elif figure["low"] is not None:
                assert figure["low"] <= figure["value"] + 0.05
                assert figure["high"] >= figure["value"] - 0.05


def test_the_figures_of_a_binary_label_are_those_of_its_parts(binary: Scored) -> None:
    table, labels, thresholds = binary
    record = evaluate(table, labels, thresholds, replicates=100).metrics["labels"]["pneumonia"]
    truth, probability = table["target.pneumonia"].to_numpy() == 1, table["probability.pneumonia"].to_numpy()
    called = probability >= 0.5
    assert record["auroc"] == auroc_figure(probability, truth).to_dict()
    assert record["confusion"]["true_positive"] == (called & truth).sum()
    assert record["sensitivity"]["value"] == pytest.approx(called[truth].mean())
    assert (record["sensitivity"]["low"], record["sensitivity"]["high"]) == wilson(int((called & truth).sum()), int(truth.sum()))
    assert record["specificity"]["value"] == pytest.approx((~called[~truth]).mean())
    assert record["ppv"]["value"] == pytest.approx(truth[called].mean())
    assert record["npv"]["value"] == pytest.approx((~truth[~called]).mean())
    assert record["accuracy"]["value"] == pytest.approx((called == truth).mean())
    assert record["brier"]["value"] == pytest.approx(((probability - truth) ** 2).mean())
    assert record["average_precision"]["low"] < record["average_precision"]["value"] < record["average_precision"]["high"]


def test_one_seed_gives_one_result_whatever_the_order_of_the_rows(multilabel: Scored) -> None:
    table, labels, thresholds = multilabel
    first = evaluate(table, labels, thresholds, seed=3, replicates=60).metrics
    assert evaluate(table.sample(fraction=1, shuffle=True, seed=1), labels, thresholds, seed=3, replicates=60).metrics == first
    assert evaluate(table, labels, thresholds, seed=4, replicates=60).metrics != first


def test_unknown_targets_are_left_out_of_their_label_alone(multilabel: Scored) -> None:
    table, labels, thresholds = multilabel
    metrics = evaluate(table, labels, thresholds, replicates=20).metrics
    nodule, effusion = metrics["labels"]["nodule"], metrics["labels"]["effusion"]
    assert (nodule["n"], nodule["unknown"]) == (len(table) - 20, 20)
    assert (effusion["n"], effusion["unknown"]) == (len(table), 0)
    assert metrics["cases"] == len(table)


def test_repeating_patients_widen_the_intervals_and_name_the_method(binary: Scored) -> None:
    table, labels, thresholds = binary
    copies = pl.concat([table.with_columns(pl.col("case_id") + f"-{copy}", patient_id=pl.col("case_id")) for copy in range(4)])
    clustered = evaluate(copies, labels, thresholds, replicates=300).metrics
    naive = evaluate(copies.drop("patient_id"), labels, thresholds, replicates=300).metrics
    assert clustered["patients"] == {**clustered["patients"], "known": True, "count": len(table), "repeat": True}
    assert "Patients repeat" in clustered["patients"]["note"]
    for key, method in (("auroc", "Obuchowski"), ("sensitivity", "effective sample size"), ("brier", "of patients")):
        wide, narrow = (record["labels"]["pneumonia"][key] for record in (clustered, naive))
        assert method in wide["method"]
        assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_the_macro_figures_are_means_over_the_labels(multilabel: Scored) -> None:
    table, labels, thresholds = multilabel
    metrics = evaluate(table, labels, thresholds, replicates=100).metrics
    values = [record["auroc"]["value"] for record in metrics["labels"].values()]
    assert metrics["macro"]["auroc"]["value"] == pytest.approx(np.mean(values))
    assert metrics["macro"]["auroc"]["low"] < np.mean(values) < metrics["macro"]["auroc"]["high"]
    assert "mean of 3 labels" in metrics["macro"]["auroc"]["method"]


def test_groups_with_few_events_get_words_instead_of_numbers(multilabel: Scored) -> None:
    table, labels, thresholds = multilabel
    metrics = evaluate(table, labels, thresholds, replicates=50, group_by=("site", "sex", "scanner")).metrics
    sites = {row["value"]: row for row in metrics["groups"]["site"]}
    assert list(sites) == ["large", "small", "unknown"]
    assert sites["large"]["labels"]["effusion"]["auroc"]["value"] is not None
    assert sites["small"]["labels"]["effusion"]["auroc"] == {
        **sites["small"]["labels"]["effusion"]["auroc"],
        "value": None,
        "reason": "too few events",
    }
    assert sum(row["n"] for row in metrics["groups"]["site"]) == len(table)
    assert metrics["groups_left_out"] == {"scanner": "not in the table"}


def test_a_column_of_too_many_values_is_no_group(binary: Scored) -> None:
    table, labels, thresholds = binary
    metrics = evaluate(table, labels, thresholds, replicates=10, group_by=("case_id",)).metrics
    assert metrics["groups"] == {}
    assert "200 different values" in metrics["groups_left_out"]["case_id"]


def test_an_ordinal_label_has_kappa_error_and_a_confusion_table(ordinal: Scored) -> None:
    table, labels, _ = ordinal
    record = evaluate(table, labels, {}, replicates=100).metrics["labels"]["grade"]
    counts = np.array(record["confusion"])
    assert counts.sum() == record["n"] == len(table)
    assert record["accuracy"]["value"] == pytest.approx(np.trace(counts) / counts.sum())
    assert 0 < record["quadratic_kappa"]["low"] < record["quadratic_kappa"]["value"] < record["quadratic_kappa"]["high"] < 1
    assert record["macro_auroc"]["value"] == pytest.approx(np.mean([part["auroc"]["value"] for part in record["classes"].values()]))
    assert "quadratic_kappa" not in evaluate(table, None, {}, replicates=10).metrics["labels"]["grade"]


def test_a_class_that_never_occurs_is_left_out_of_the_mean(ordinal: Scored) -> None:
    table, labels, _ = ordinal
    table = table.filter(pl.col("target.grade") != "severe")
    record = evaluate(table, labels, {}, replicates=20).metrics["labels"]["grade"]
    assert record["classes"]["severe"]["auroc"]["reason"] == "no positive cases"
    assert "3 of 4 classes" in record["macro_auroc"]["method"]
    assert record["warning"] == "too few events"


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 0, 0], [None, None, None], [1, None, None]])
@pytest.mark.parametrize("patient", [["p", "p", "p"], ["p", "q", "q"], None])
def test_degenerate_tables_are_told_apart_and_do_not_crash(target: list[int | None], patient: list[str] | None) -> None:
    table = pl.DataFrame({"case_id": ["a", "b", "c"], "probability.pneumonia": [0.2, 0.2, 0.2]}).with_columns(
        pl.Series("target.pneumonia", target, dtype=pl.Int64)
    )
    table = table if patient is None else table.with_columns(pl.Series("patient_id", patient))
    evaluation = evaluate(table, LABEL, {"pneumonia": 0.5}, replicates=20)
    json.dumps(evaluation.metrics, allow_nan=False)
    assert evaluation.metrics["labels"]["pneumonia"]["auroc"]["reason"]
    assert "AUROC not known" in evaluation.headline


@pytest.mark.parametrize("targets", [["none"] * 3, [None] * 3])
def test_degenerate_grades_do_not_crash(ordinal: Scored, targets: list[str | None]) -> None:
    table, labels, _ = ordinal
    table = table.head(3).with_columns(pl.Series("target.grade", targets, dtype=pl.String))
    json.dumps(evaluate(table, labels, {}, replicates=10).metrics, allow_nan=False)


def test_perfect_separation_keeps_a_wide_interval_with_and_without_patients() -> None:
    table = pl.DataFrame(
        {"case_id": list("abcdef"), "target.pneumonia": [0, 0, 0, 1, 1, 1], "probability.pneumonia": [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]}
    )
    for each in (table, table.with_columns(patient_id=pl.Series(list("ppqrss")))):
        figure = evaluate(each, LABEL, {"pneumonia": 0.5}, replicates=50).metrics["labels"]["pneumonia"]["auroc"]
        assert (figure["value"], figure["high"]) == (1, 1)
        assert figure["low"] < 0.8
        assert "Newcombe" in figure["method"]


def test_the_headline_is_a_few_lines(binary: Scored, multilabel: Scored, ordinal: Scored) -> None:
    for (table, labels, thresholds), word in ((binary, "sensitivity"), (multilabel, "mean over labels"), (ordinal, "kappa")):
        headline = evaluate(table, labels, thresholds, replicates=20).headline
        assert word in headline
        assert len(headline.splitlines()) <= 6


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [({}, "label 'pneumonia' has no threshold"), ({"pneumonia": 1.5}, "threshold of 'pneumonia' is 1.5; expected a probability")],
)
def test_a_threshold_has_to_be_given(binary: Scored, thresholds: dict[str, float], message: str) -> None:
    table, labels, _ = binary
    with pytest.raises(MedaiError, match=message):
        evaluate(table, labels, thresholds)


def test_without_replicates_only_the_bootstrap_intervals_are_missing(binary: Scored) -> None:
    table, labels, thresholds = binary
    record = evaluate(table, labels, thresholds, replicates=0).metrics["labels"]["pneumonia"]
    assert record["auroc"]["low"] is not None
    assert record["average_precision"]["reason"] == "no replicates"


def test_labels_are_inferred_from_the_columns(multilabel: Scored) -> None:
    table, _, thresholds = multilabel
    assert evaluate(table, None, thresholds, replicates=5).labels[0] == Label("nodule", "binary", ("negative", "positive"))


def test_delongs_own_interval_is_given_where_it_is_asked_for(binary: Scored) -> None:
    table = binary[0].with_columns(site=pl.Series(["A", "B"] * 100))
    found = evaluate(table, *binary[1:], replicates=0, group_by=["site"], auroc_interval="wald").metrics
    probability, truth = table["probability.pneumonia"].to_numpy(), table["target.pneumonia"].to_numpy() == 1
    assert found["labels"]["pneumonia"]["auroc"] == auroc_figure(probability, truth, kind="wald").to_dict()
    assert {row["labels"]["pneumonia"]["auroc"]["method"] for row in found["groups"]["site"]} == {"DeLong"}
    with pytest.raises(MedaiError, match="auroc_interval is 'walt'; allowed: score, wald"):
        evaluate(table, *binary[1:], replicates=0, auroc_interval="walt")  # type: ignore[arg-type]
