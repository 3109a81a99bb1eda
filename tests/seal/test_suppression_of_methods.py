"""How a withheld figure was made tells of the counts that are withheld: the method goes with the number."""

import json

import numpy as np
import polars as pl

from medai.core.label import Label
from medai.evaluation.evaluate import evaluate
from medai.evaluation.group import groups_of
from medai.seal.suppression import release


def test_a_withheld_figure_does_not_tell_how_many_replicates_hold_an_event() -> None:
    random = np.random.default_rng(1)
    truth = np.zeros(400, dtype=int)
    truth[random.choice(400, 2, replace=False)] = 1
    table = pl.DataFrame(
        {
            "case_id": [f"c{place:03}" for place in range(400)], "target.sick": truth,
            "site": ["A", "B"] * 200, "probability.sick": 0.3 * truth + 0.5 * random.random(400),
        }
    )  # fmt: skip
    labels = (Label("sick", "binary", ("no", "yes")),)
    evaluation = evaluate(table, labels, {"sick": 0.5}, replicates=200, group_by=["site"], prevalences=[0.01])
    assert "defined" in json.dumps(evaluation.metrics["labels"])  # what would give the events away
    released, _ = release(evaluation, groups_of(evaluation.table, ["site"])[0])
    told = json.dumps([released["labels"], released["groups"]])
    assert "defined" not in told and "0.5 added" not in told and "degrees of freedom" not in told
    assert released["labels"]["sick"]["average_precision"]["method"] == "withheld"


def test_a_released_p_value_is_not_adjusted_for_withheld_ones() -> None:
    random = np.random.default_rng(0)
    truth = (random.random(600) < 0.4).astype(int)
    counts = []
    for events in (10, 9):  # with ten events a group's figures are made, and withheld
        truth[570:] = np.arange(30) < events
        table = pl.DataFrame(
            {
                "case_id": [f"c{place:03}" for place in range(600)], "target.sick": truth,
                "site": ["A"] * 280 + ["B"] * 290 + ["C"] * 30, "probability.sick": 0.3 * truth + 0.6 * random.random(600),
            }
        )  # fmt: skip
        evaluation = evaluate(table, (Label("sick", "binary", ("no", "yes")),), {"sick": 0.5}, replicates=20, group_by=["site"])
        released, _ = release(evaluation, groups_of(evaluation.table, ["site"])[0])
        told = [row["labels"]["sick"]["difference"] for row in released["groups"]["site"]]
        shown = [each["p"] for differences in told for each in differences.values() if each["p"] is not None]
        counts.append(released["subgroups"]["family"]["tests"])
        assert released["subgroups"]["family"]["tests"] == len(shown) < evaluation.metrics["subgroups"]["family"]["tests"]
    assert counts[0] == counts[1]
