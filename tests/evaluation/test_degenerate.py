"""Figures at the edge of what the data say: none is made up, and no interval shrinks to a point."""

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.evaluation.bootstrap import bootstrap_figure
from medai.evaluation.evaluate import evaluate
from medai.evaluation.table import check_predictions


def test_a_bca_interval_that_shrinks_to_a_point_is_a_percentile_interval() -> None:
    replicates = np.concatenate([np.zeros(292), np.linspace(0.01, 0.1, 8)])
    figure = bootstrap_figure(0.0, 30, replicates, clustered=False, patients=30, left_out=np.zeros(30))
    assert figure.low is not None and figure.high is not None and figure.low < figure.high


def test_precision_of_positives_alone_is_not_known() -> None:
    table = pl.DataFrame({"case_id": ["a", "b", "c"], "target.x": [1, 1, 1], "probability.x": [0.2, 0.4, 0.9]})
    figure = evaluate(table, None, {"x": 0.5}, replicates=20).metrics["labels"]["x"]["average_precision"]
    assert figure["value"] is None and figure["reason"] == "no negative cases"


@pytest.mark.parametrize("name", ["case_id", "patient_id", "target.x"])
def test_a_column_of_lists_is_refused_in_one_line(name: str) -> None:
    table = pl.DataFrame({"case_id": ["a", "b"], "patient_id": ["p", "q"], "target.x": [0, 1], "probability.x": [0.2, 0.9]})
    with pytest.raises(MedaiError, match=rf"{name} is read as List\(.*\); expected a single value in each row"):
        check_predictions(table.with_columns(pl.concat_list(name).alias(name)))
