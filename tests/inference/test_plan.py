from pathlib import Path

import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.core.label import Label
from medai.evaluation.precision_plan import precision
from medai.inference.plan import precision_record
from tests.inference.hospital import SICK, cohort_in


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


def test_the_plan_takes_shares_of_development_and_counts_of_test_and_reads_no_test_label(hospital: Cohort) -> None:
    (hospital.path / "labels/test.parquet").unlink()
    assert precision_record(hospital, hospital.labels) == precision({"sick": 29 / 80}, 160, 160)


def test_labels_without_a_share_are_not_planned(hospital: Cohort) -> None:
    assert precision_record(hospital, [Label("sick", "multiclass", ("a", "b", "c"))]) is None
    assert precision_record(hospital, [Label("other", "binary", ("no", "yes"))]) is None
    path = hospital.path / "labels/development.parquet"
    pl.read_parquet(path).with_columns(sick=pl.lit(0)).write_parquet(path)
    cohort = Cohort(hospital.path, hospital.meta | {"key_identity": "another"})  # whose hashes are not checked here
    assert precision_record(cohort, [Label.from_dict(SICK)]) is None


def test_a_cohort_without_test_cases_has_no_plan(hospital: Cohort) -> None:
    path = hospital.path / "cases.parquet"
    pl.read_parquet(path).filter(pl.col("partition") != "test").write_parquet(path)
    cohort = Cohort(hospital.path, hospital.meta | {"key_identity": "another"})
    assert precision_record(cohort, hospital.labels) is None
