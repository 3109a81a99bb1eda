"""Segmentation tables: means, medians, empty outlines, groups, and each fault in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind

from medai.core.error import MedaiError
from medai.evaluation.bootstrap import cluster_weights
from medai.evaluation.segmentation import evaluate_segmentation, median_statistic, segmentation_headline
from medai.evaluation.segmentation_table import check_segmentation, holds_segmentation, measured_of, read_segmentation


def cases(n: int = 120, *, repeat: int = 1) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    patient = np.arange(n) // repeat
    site = np.where(patient % 3 == 0, "A", "B")
    effect = generator.normal(size=n)[patient] * 0.03
    dice = np.clip(0.85 + effect + 0.01 * generator.normal(size=n) - 0.05 * (site == "A"), 0, 1)
    return pl.DataFrame(
        {
            "case_id": [f"c{i:03}" for i in range(n)],
            "patient_id": [f"p{i:03}" for i in patient],
            "site": site,
            "dice.liver": dice,
            "hd95.liver": generator.gamma(2, 3, n),
            "dice.spleen": np.clip(dice + 0.05, 0, 1),
        }
    )


def run(table: pl.DataFrame, **settings: Any) -> dict[str, Any]:
    metrics = evaluate_segmentation(table, **{"replicates": 200} | settings)
    json.dumps(metrics, allow_nan=False)
    return metrics


def test_means_and_medians_with_intervals_of_the_bootstrap() -> None:
    table = cases()
    record = run(table, replicates=1000)["structures"]
    for name, column in (("liver", "dice.liver"), ("liver", "hd95.liver"), ("spleen", "dice.spleen")):
        figures, values = record[name][column.partition(".")[0]], table[column].to_numpy()
        assert figures["mean"]["value"] == pytest.approx(values.mean())
        assert figures["median"]["value"] == pytest.approx(np.median(values))
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        assert figures["mean"]["high"] - figures["mean"]["low"] == pytest.approx(2 * half, rel=0.15)
        assert figures["median"]["low"] < figures["median"]["value"] < figures["median"]["high"]
        assert "1,000 replicates" in figures["mean"]["method"]
    assert "nsd" not in record["liver"]


def test_patients_that_repeat_widen_the_intervals() -> None:
    table = cases(repeat=4)
    wide, narrow = (run(each)["structures"]["liver"]["dice"]["mean"] for each in (table, table.drop("patient_id")))
    assert "of patients" in wide["method"]
    assert wide["high"] - wide["low"] > 1.4 * (narrow["high"] - narrow["low"])


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_weighted_median_is_that_of_the_repeated_cases(n: int) -> None:
    generator = np.random.default_rng(n)
    value, rows = generator.integers(0, 9, n).astype(float), np.sort(generator.choice(50, n, replace=False))
    value[0] = np.inf
    statistic = median_statistic(value, rows)
    for weights in cluster_weights(np.arange(50), 60, 0):
        drawn = statistic(weights)[:, 0]
        for column in range(weights.shape[1]):
            sample = np.repeat(value, weights[rows, column].astype(int))
            expected = np.median(sample) if len(sample) else np.nan
            assert drawn[column] == expected or (np.isnan(drawn[column]) and np.isnan(expected))


def test_the_median_of_no_cases_is_undefined() -> None:
    assert np.isnan(median_statistic(np.array([]), np.array([], dtype=np.int64))(np.ones((4, 3)))).all()


def test_empty_outlines_are_told_apart_by_the_measures() -> None:
    table = pl.DataFrame(
        {"case_id": list("abcde"), "dice.liver": [0.9, None, 0.0, 0.0, 0.8], "hd95.liver": [2.0, None, None, float("inf"), 4.0]}
    )
    dice, distance = measured_of(check_segmentation(table))
    assert dice.value.tolist()[:1] == [0.9] and np.isnan(dice.value[1]) and dice.value.tolist()[2:] == [0, 0, 0.8]
    assert np.isnan(distance.value[1]) and np.isinf(distance.value[2:4]).all()
    record = run(table)["structures"]["liver"]
    assert (record["n"], record["absent_in_both"], record["one_sided"], record["missed"], record["invented"]) == (4, 1, 2, None, None)
    assert record["dice"]["mean"]["value"] == pytest.approx(1.7 / 4)
    assert (record["hd95"]["mean"]["value"], record["hd95"]["mean"]["n"]) == (3, 2)
    assert (record["hd95"]["infinite"], record["hd95"]["undefined"]) == (2, 1)
    assert record["hd95"]["median"]["value"] is None
    assert "no distance" in record["hd95"]["median"]["reason"]


def test_a_missed_structure_is_told_from_an_invented_one() -> None:
    table = pl.DataFrame(
        {
            "case_id": list("abcde"),
            "dice.liver": [0.9, 1.0, None, 0.0, 0.8],  # case b: some tools call it perfect to find nothing where there is nothing
            "nsd.liver": [0.9, 1.0, None, 0.0, 0.8],
            "reference.liver": [12.5, 0, 3, 0, 4],
            "prediction.liver": [12.5, 0, 0, 7, 4],
        }
    )
    record = run(table)["structures"]["liver"]
    assert (record["n"], record["absent_in_both"], record["missed"], record["invented"]) == (4, 1, 1, 1)
    assert record["dice"]["mean"]["value"] == pytest.approx((0.9 + 0 + 0 + 0.8) / 4)
    assert record["nsd"]["undefined"] == 1


def test_a_median_distance_with_infinite_cases_keeps_its_value_and_its_lower_end() -> None:
    table = cases(60).with_columns(pl.when(pl.int_range(60) < 6).then(float("inf")).otherwise(pl.col("hd95.liver")).alias("hd95.liver"))
    table = table.with_columns(pl.when(pl.int_range(60) < 6).then(0.0).otherwise(pl.col("dice.liver")).alias("dice.liver"))
    figure = run(table)["structures"]["liver"]["hd95"]["median"]
    assert figure["value"] == pytest.approx(np.median(table["hd95.liver"].to_numpy()))
    assert figure["low"] < figure["value"] < figure["high"]
    almost = table.with_columns(pl.when(pl.int_range(60) < 28).then(float("inf")).otherwise(pl.col("hd95.liver")).alias("hd95.liver"))
    almost = almost.with_columns(pl.when(pl.int_range(60) < 28).then(0.0).otherwise(pl.col("dice.liver")).alias("dice.liver"))
    figure = run(almost)["structures"]["liver"]["hd95"]["median"]
    assert figure["value"] is not None and figure["high"] is None
    assert "not bounded" in figure["reason"]


def test_groups_have_the_difference_of_their_mean_to_the_rest() -> None:
    table = cases()
    metrics = run(table, group_by=("site", "scanner"))
    row = next(row for row in metrics["groups"]["site"] if row["value"] == "A")
    compared = row["structures"]["liver"]["dice"]["difference"]["mean"]
    values = table["dice.liver"].to_numpy()
    inside = (table["site"] == "A").to_numpy()
    test = ttest_ind(values[inside], values[~inside], equal_var=False)
    assert compared["value"] == pytest.approx(values[inside].mean() - values[~inside].mean())
    assert compared["p"] == pytest.approx(test.pvalue, rel=1e-9)
    low, high = test.confidence_interval(0.95)
    assert (compared["low"], compared["high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["structures"]["liver"]["dice"]["mean"]["value"] == pytest.approx(values[inside].mean())
    assert (row["n"], row["patients"]) == (int(inside.sum()), int(inside.sum()))
    assert metrics["groups_left_out"] == {"scanner": "not in the table"}
    assert metrics["family"]["tests"] == 3  # A against B is B against A; three measures
    assert compared["p_holm"] >= compared["p_bh"] >= compared["p"]


def test_small_groups_get_words_instead_of_numbers() -> None:
    table = cases(40).with_columns(site=pl.when(pl.int_range(40) < 9).then(pl.lit("small")).otherwise(pl.lit("large")))
    metrics = run(table, group_by=("site",))
    large, small = (row["structures"]["liver"]["dice"] for row in metrics["groups"]["site"])
    assert small["mean"]["value"] is None and small["mean"]["reason"] == "too few cases"
    assert small["median"]["reason"] == small["difference"]["mean"]["reason"] == "too few cases"
    assert large["mean"]["value"] is not None
    assert large["difference"]["mean"]["reason"] == "too few cases in the rest"


def test_one_seed_gives_one_result_whatever_the_order_of_the_rows() -> None:
    table = cases(repeat=2)
    first = run(table, seed=3)
    assert run(table.sample(fraction=1, shuffle=True, seed=1), seed=3) == first
    assert run(table, seed=4) != first


def test_a_structure_that_never_occurs_is_told() -> None:
    table = cases(12).with_columns(pl.lit(None, dtype=pl.Float64).alias("dice.tumour"))
    record = run(table)["structures"]["tumour"]
    assert (record["n"], record["absent_in_both"]) == (0, 12)
    assert record["dice"]["mean"]["reason"] == "no case has a value"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,liver\na,0.9\n", "no column 'dice.<structure>', 'nsd.<structure>', 'hd95.<structure>'; got case_id, liver"),
        ("case_id,dice.liver\na,0.9\na,0.8\n", "case_id 'a' occurs more than once"),
        ("case_id,dice.liver\na,90\nb,80\n", "dice.liver is 90 for case 'a' .2 such rows.; expected from 0 to 1.*not per cent"),
        ("case_id,nsd.liver\na,-0.1\n", "nsd.liver is -0.1 for case 'a'"),
        ("case_id,hd95.liver\na,-1\n", "hd95.liver is -1 for case 'a' .*mm from 0 up"),
        ('case_id,dice.liver\na,"0,9"\n', "dice.liver is '0,9' for case 'a' .*a number with a decimal point"),
        ("case_id,dice.liver,reference.liver\na,0.9,yes\n", "reference.liver is 'yes' for case 'a'.*0 or false where the outline is empty"),
        ("case_id;dice.liver\na;0.9\n", "separated by semicolons"),
        ("", "is empty; expected a table of segmentation measures"),
    ],
)
def test_each_fault_is_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dice.csv").write_text(text, encoding="utf-8")
    with pytest.raises(MedaiError, match=message) as caught:
        read_segmentation(tmp_path / "dice.csv")
    assert str(caught.value).startswith(str(tmp_path / "dice.csv"))
    assert "\n" not in str(caught.value)


def test_a_csv_with_empty_and_infinite_cells_is_read(tmp_path: Path) -> None:
    (tmp_path / "dice.csv").write_text(
        "case_id,dice.liver,hd95.liver,reference.liver\n1,0.9,2.5,true\n2,,,false\n3,0,inf,true\n", encoding="utf-8"
    )
    table = read_segmentation(tmp_path / "dice.csv")
    assert table["hd95.liver"].to_list() == [2.5, None, float("inf")]
    assert table["reference.liver"].to_list() == [True, False, True]


def test_the_headline_has_a_line_a_structure() -> None:
    table = cases().with_columns(pl.when(pl.int_range(120) < 2).then(0.0).otherwise(pl.col("dice.liver")).alias("dice.liver"))
    table = table.with_columns(pl.when(pl.int_range(120) < 2).then(None).otherwise(pl.col("hd95.liver")).alias("hd95.liver"))
    first, liver, spleen = segmentation_headline(run(table)).splitlines()
    assert first == "120 cases"
    assert liver.startswith("liver: 120 cases, mean Dice 0.8") and "HD95 in mm" in liver and "2 with one outline empty" in liver
    assert "one outline" not in spleen


def test_a_segmentation_table_is_told_from_one_of_predictions() -> None:
    assert holds_segmentation(cases())
    assert not holds_segmentation(cases().with_columns(pl.lit(0.5).alias("probability.x")))
    assert not holds_segmentation(pl.DataFrame({"case_id": ["a"], "dice": [0.5]}))
