"""Small cells are withheld, and cannot be worked out from what is released: an attacker with linear algebra tries it."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.label import Label
from medai.evaluation.evaluate import Evaluation, evaluate
from medai.evaluation.group import groups_of
from medai.seal.bound import EVENTS, TRUE, Knowledge
from medai.seal.suppression import LEAST, public_table, release

GROUPS = ("site", "manufacturer", "sex")


def table(*cells: tuple[str, str, str, int, int, int], patients: int | None = None) -> pl.DataFrame:
    """Rows of (site, manufacturer, sex, truth, call, how many)."""
    rows = [cell[:5] for cell in cells for _ in range(cell[5])]
    random = np.random.default_rng(0)
    probability = [0.5 + 0.5 * random.random() if call else 0.5 * random.random() for *_, call in rows]
    frame = pl.DataFrame(
        {
            "case_id": [f"c{place:05}" for place in range(len(rows))],
            "site": [row[0] for row in rows], "manufacturer": [row[1] for row in rows], "sex": [row[2] for row in rows],
            "target.sick": [row[3] for row in rows], "probability.sick": probability,
        }
    )  # fmt: skip
    return frame if patients is None else frame.with_columns(patient_id=pl.Series([f"p{place % patients}" for place in range(len(rows))]))


def evaluated(frame: pl.DataFrame, group_by: tuple[str, ...] = GROUPS) -> tuple[Evaluation, dict[str, Any], list[str]]:
    labels = tuple(Label(name.removeprefix("target."), "binary", ("no", "yes")) for name in frame.columns if name.startswith("target."))
    evaluation = evaluate(frame, labels, dict.fromkeys((label.name for label in labels), 0.5), replicates=20, group_by=group_by)
    groups, _ = groups_of(evaluation.table, group_by)
    return evaluation, *release(evaluation, groups)


LARGE = (("A", "x", "F", 1, 1, 40), ("A", "x", "M", 1, 0, 30), ("A", "x", "F", 0, 1, 35), ("A", "x", "M", 0, 0, 60))
OTHER = (("B", "x", "M", 1, 1, 45), ("B", "x", "F", 1, 0, 32), ("B", "x", "M", 0, 1, 33), ("B", "x", "F", 0, 0, 70))
THIRD = (("C", "y", "F", 1, 1, 50), ("C", "y", "M", 1, 0, 31), ("C", "y", "F", 0, 1, 34), ("C", "y", "M", 0, 0, 80))


def row(metrics: dict[str, Any], column: str, value: str) -> dict[str, Any]:
    return next(found for found in metrics["groups"][column] if found["value"] == value)


def test_a_large_table_is_released_whole_but_for_curves_and_rounded() -> None:
    evaluation, metrics, withheld = evaluated(table(*LARGE, *OTHER, *THIRD))
    record, given = metrics["labels"]["sick"], evaluation.metrics["labels"]["sick"]
    assert record["confusion"] == given["confusion"] and record["events"] == given["events"]
    for name in ("auroc", "sensitivity", "ppv", "brier", "ece"):
        assert record[name]["value"] == round(given[name]["value"], 4)
    assert "labels.*.mce" in withheld and "mce" not in record
    for column in GROUPS:
        for found in metrics["groups"][column]:
            assert found["n"] and found["labels"]["sick"]["events"] and found["labels"]["sick"]["sensitivity"]["value"] is not None


def test_one_small_cell_withholds_the_whole_two_by_two_table() -> None:
    _, metrics, _ = evaluated(
        table(("A", "x", "F", 1, 1, 95), ("A", "x", "F", 1, 0, 5), ("A", "x", "F", 0, 1, 40), ("A", "x", "F", 0, 0, 200)), ()
    )
    record = metrics["labels"]["sick"]
    assert set(record["confusion"].values()) == {None}
    for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):  # with the calls known, one gives all the others
        assert record[name]["value"] is None and record[name]["low"] is None and record[name]["reason"].startswith("suppressed")
    assert record["events"] == 100 and record["auroc"]["value"] is not None


@pytest.mark.parametrize("few", [1, 10])
def test_few_events_withhold_everything_that_is_made_of_them(few: int) -> None:
    evaluation, metrics, _ = evaluated(table(("A", "x", "F", 1, 1, few), ("A", "x", "F", 0, 1, 40), ("A", "x", "F", 0, 0, 200)), ())
    record = metrics["labels"]["sick"]
    assert record["events"] is None and record["n"] == 240 + few
    figures = [value for value in record.values() if isinstance(value, dict) and "value" in value]
    assert figures and all(figure["value"] is None is figure["low"] for figure in figures)
    text = json.dumps(record)
    for name in ("auroc", "brier", "prevalence", "accuracy"):
        assert str(round(evaluation.metrics["labels"]["sick"][name]["value"], 4)) not in text


def test_eleven_are_enough_and_none_is_no_small_cell() -> None:
    cells = (("A", "x", "F", 1, 1, 11), ("A", "x", "F", 0, 1, 11), ("A", "x", "F", 0, 0, 11))
    _, metrics, _ = evaluated(table(*cells), ())
    assert metrics["labels"]["sick"]["confusion"] == {"true_positive": 11, "false_positive": 11, "false_negative": 0, "true_negative": 11}


def test_cells_are_counted_in_persons_where_patients_repeat() -> None:
    cells = (("A", "x", "F", 1, 1, 40), ("A", "x", "F", 1, 0, 40), ("A", "x", "F", 0, 1, 40), ("A", "x", "F", 0, 0, 40))
    assert evaluated(table(*cells), ())[1]["labels"]["sick"]["confusion"]["true_positive"] == 40
    assert evaluated(table(*cells, patients=5), ())[1]["labels"]["sick"]["confusion"]["true_positive"] is None


def test_a_small_cell_of_one_group_does_not_follow_by_subtraction() -> None:
    small = (("D", "y", "F", 1, 1, 4), ("D", "y", "M", 0, 0, 60), ("D", "y", "M", 0, 1, 12))
    _, metrics, _ = evaluated(table(*LARGE, *OTHER, *THIRD, *small))
    events = {found["value"]: found["labels"]["sick"]["events"] for found in metrics["groups"]["site"]}
    assert events["D"] is None and sum(value is None for value in events.values()) >= 2
    assert metrics["labels"]["sick"]["events"] == 232  # the total is released


def test_a_nested_column_does_not_give_it_away_either() -> None:
    """Site D and its only partner C make up manufacturer y: with y and C released, D would be the difference."""
    small = (("D", "y", "F", 1, 1, 4), ("D", "y", "M", 0, 0, 60), ("D", "y", "M", 0, 1, 12))
    _, metrics, _ = evaluated(table(*LARGE, *OTHER, *THIRD, *small))
    events = {(column, found["value"]): found["labels"]["sick"]["events"] for column in GROUPS for found in metrics["groups"][column]}
    assert events["site", "D"] is None
    assert events["site", "C"] is None or events["manufacturer", "y"] is None


@pytest.mark.parametrize("seed", range(12))
def test_no_attacker_with_linear_algebra_narrows_a_small_cell_down(seed: int) -> None:
    """Random nested and crossed groups; the attacker solves for each withheld count by least squares and by its null space."""
    random = np.random.default_rng(seed)
    sex = random.choice(["F", "M"], 420)
    sites = random.choice(list("ABCDE"), 420, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    maker = np.where(np.isin(sites, ["A", "B"]), "x", "y")
    truth = (random.random(420) < 0.25).astype(int)
    frame = pl.DataFrame(
        {
            "case_id": [f"c{place:04}" for place in range(420)], "site": sites, "manufacturer": maker, "sex": sex,
            "target.sick": truth, "probability.sick": np.clip(0.35 + 0.3 * truth + 0.2 * random.normal(size=420), 0, 1),
        }
    )  # fmt: skip
    evaluation, metrics, _ = evaluated(frame)
    groups, _ = groups_of(evaluation.table, GROUPS)
    known = evaluation.table["target.sick"].to_numpy() == 1
    called = evaluation.table["probability.sick"].to_numpy() >= 0.5
    member = np.stack([np.ones(420, bool), *(group.chosen for group in groups)])
    records = [metrics["labels"]["sick"], *(row(metrics, group.column, group.value)["labels"]["sick"] for group in groups)]
    whole = evaluation.metrics["labels"]["sick"]
    for truth_of, shown in (
        (known, [record["events"] is not None for record in records]),
        (known & called, [record["sensitivity"]["value"] is not None or _zero(whole, place) for place, record in enumerate(records)]),
    ):
        atoms, atom = np.unique(member, axis=1, return_inverse=True)
        released = atoms[np.array(shown)].astype(float)
        rank = np.linalg.matrix_rank(released) if len(released) else 0
        for place in np.flatnonzero(~np.array(shown)):
            count = int(truth_of[member[place]].sum())
            if 0 < count < LEAST:
                target = atoms[place].astype(float)
                stacked = np.vstack([released, target]) if len(released) else target[None]
                assert np.linalg.matrix_rank(stacked) > rank, f"group {place} with {count} follows from what is released"
        assert len(atom) == 420


def _zero(whole: dict[str, Any], place: int) -> bool:
    return place == 0 and whole["sensitivity"]["value"] is None


def test_the_bound_is_what_brute_force_finds() -> None:
    """Three atoms with 0 to 3 events each: every assignment that fits the released sums is tried."""
    member = np.array([[1] * 9, [1, 1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1, 1]], dtype=bool)
    event = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], dtype=bool)
    called = np.array([1, 0, 1, 1, 1, 0, 0, 1, 1], dtype=bool)
    knowledge = Knowledge(member, event, called)
    released = {(0, EVENTS), (1, EVENTS), (0, TRUE)}
    for cell in ((2, EVENTS), (1, TRUE), (2, TRUE)):
        possible = []
        for bits in range(2**9):
            truth = np.array([bits >> place & 1 for place in range(9)], dtype=bool)
            sums = {(group, EVENTS): (truth & member[group]).sum() for group in range(3)}
            sums |= {(group, TRUE): (truth & called & member[group]).sum() for group in range(3)}
            if all(sums[each] == knowledge.value[each[1], each[0]] for each in released):
                possible.append(sums[cell])
        bound = knowledge.bound(cell, released)
        assert (bound.low, bound.high) == pytest.approx((min(possible), max(possible)), abs=1e-6)


def test_a_mean_over_labels_does_not_give_the_suppressed_one_away() -> None:
    frame = table(*LARGE, *OTHER, *THIRD)
    rare = np.zeros(len(frame), int)
    rare[:5] = 1
    frame = frame.with_columns(pl.Series("target.rare", rare), pl.Series("probability.rare", np.linspace(0.9, 0.1, len(frame))))
    evaluation, metrics, _ = evaluated(frame, ())
    assert evaluation.metrics["macro"] and metrics["macro"] == {}
    assert metrics["labels"]["rare"]["auroc"]["value"] is None and metrics["labels"]["sick"]["auroc"]["value"] is not None


def test_a_figure_that_nobody_has_thought_about_stays_inside() -> None:
    evaluation, _, _ = evaluated(table(*LARGE, *OTHER), ())
    evaluation.metrics["labels"]["sick"]["decision_curve"] = {"threshold": [0.1], "net_benefit": [0.3]}
    evaluation.metrics["per_case"] = [{"case_id": "c00001", "truth": 1}]
    metrics, withheld = release(evaluation)
    assert "decision_curve" not in metrics["labels"]["sick"] and "per_case" not in metrics
    assert {"labels.*.decision_curve", "per_case"} <= set(withheld)


def test_a_multiclass_table_with_a_small_cell_keeps_its_ranks_and_loses_its_decisions() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [60, 50, 40])
    score = np.eye(3)[truth] * 1.5 + random.random((150, 3))
    score /= score.sum(axis=1, keepdims=True)
    label = Label("grade", "ordinal", ("low", "middle", "high"))
    frame = pl.DataFrame({"case_id": [f"c{place:03}" for place in range(150)], "target.grade": [label.classes[index] for index in truth]})
    frame = frame.with_columns(pl.Series(f"probability.grade.{name}", score[:, place]) for place, name in enumerate(label.classes))
    frame = frame.with_columns(pl.when(pl.col("case_id") < "c003").then(pl.lit("middle")).otherwise("target.grade").alias("target.grade"))
    evaluation = evaluate(frame, (label,), {}, replicates=20, group_by=())
    record = release(evaluation)[0]["labels"]["grade"]
    assert all(cell is None for line in record["confusion"] for cell in line)
    assert record["accuracy"]["value"] is None and record["quadratic_kappa"]["value"] is None
    assert record["macro_auroc"]["value"] is not None and record["classes"]["low"]["events"] == 57
    assert record["classes"]["low"]["sensitivity"]["value"] is None


def test_a_public_table_holds_keys_groups_and_scores_only() -> None:
    frame = table(*LARGE).with_columns(pl.lit(1).alias("label_source"), pl.lit(0.3).alias("error.sick"), pl.lit("F").alias("sex"))
    assert public_table(frame).columns == ["case_id", "site", "manufacturer", "sex", "probability.sick"]
