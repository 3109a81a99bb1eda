"""A table of scores on a sealed test set, by the settings of `medai evaluate`; and what a named cohort means."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from medai.ingest.ingest import ingest
from medai.seal.seal import seal_cohort
from medai.seal.terms import Terms
from medai.source.npz import NpzSource

TARGET = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}


def cohort_in(folder: Path) -> Cohort:
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("val", 6), ("test", 120)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez(folder / "set.npz", **arrays)  # type: ignore[arg-type]
    return ingest(NpzSource("set", str(folder / "set.npz"), [TARGET]), folder / "cohorts", workers=0)


def scores_of(cases: pl.DataFrame, path: Path) -> str:
    cases.select("case_id", pl.lit(0.25).alias("probability.sick") + pl.int_range(pl.len()) / 1000).write_csv(path)
    return str(path)


def evaluated(predictions: str, cohort: Cohort, **settings: object) -> tuple[dict[str, object], str]:
    known = {"replicates": 20, "language": "en"} | settings
    folder = evaluate_candidate(EvaluateSettings(predictions=predictions, cohorts=str(cohort.path), **known))  # type: ignore[arg-type]
    return json.loads((folder / "metrics.json").read_text()), (folder / "report.html").read_text()


def test_a_table_is_scored_on_a_sealed_test_set_and_what_it_leaves_out_is_told(tmp_path: Path) -> None:
    cohort, key = cohort_in(tmp_path), tmp_path / "office" / "key"
    seal_cohort(cohort, key, Terms("auroc", "sick", attempts=2, refusals=3))
    table = scores_of(cohort.unlabelled_test().head(118), tmp_path / "scores.csv")
    metrics, page = evaluated(table, cohort, seal_key=str(key))
    assert metrics["unscored"] == 2 and metrics["cases"] == 118
    assert "2 of the sealed cases were not scored, and are not in the figures." in page
    assert "target.sick" not in pl.read_parquet(tmp_path / "scores-evaluation" / "predictions.parquet").columns


def test_a_seal_key_without_a_sealed_test_set_is_refused(tmp_path: Path) -> None:
    cohort = cohort_in(tmp_path)
    table = scores_of(cohort.unlabelled_test(), tmp_path / "scores.csv")
    with pytest.raises(MedaiError, match="seal_key= is set, and .* is not held against a sealed test set"):
        evaluated(table, cohort, seal_key=str(tmp_path / "key"))


def test_a_reference_table_takes_the_truth_of_the_cohort_and_keeps_its_own_thresholds(tmp_path: Path) -> None:
    cohort = cohort_in(tmp_path)
    table = scores_of(cohort.unlabelled_test(), tmp_path / "scores.csv")
    other = tmp_path / "other"
    evaluated(table, cohort, output=str(other), thresholds={"sick": 0.3})
    metrics, _ = evaluated(table, cohort, reference=table)
    compared = metrics["comparison"]["labels"]["sick"]  # type: ignore[index]
    assert compared["n"] == 120 and set(compared["thresholds"].values()) == {0.5}
    metrics, _ = evaluated(table, cohort, reference=str(other / "predictions.parquet"))
    assert sorted(metrics["comparison"]["labels"]["sick"]["thresholds"].values()) == [0.3, 0.5]  # type: ignore[index]


def test_a_reference_table_with_other_cases_is_refused(tmp_path: Path) -> None:
    cohort = cohort_in(tmp_path)
    table = scores_of(cohort.unlabelled_test(), tmp_path / "scores.csv")
    strange = tmp_path / "strange.csv"
    strange.write_text(Path(table).read_text() + "zzz,0.5\n")
    with pytest.raises(MedaiError, match="strange.csv: case 'zzz' is not among the evaluated ones"):
        evaluated(table, cohort, reference=str(strange))
