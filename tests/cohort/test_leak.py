import polars as pl
import pytest

from medai.cohort.leak import exclude_leaks
from medai.core.error import MedaiError


def _cases(*rows: tuple[str, str | None, str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(
        rows, schema={"case_id": pl.String, "patient_id": pl.String, "pixel_hash": pl.String, "split": pl.String}, orient="row"
    )
    return frame.with_columns(partition=pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("development")))


CLEAN = [
    ("a", "1", "x", "train"),
    ("b", "1", "y", "train"),
    ("c", "2", "z", "validation"),
    ("d", "3", "w", "test"),
    ("e", None, "v", "test"),
]


def test_a_clean_cohort_has_no_exclusions() -> None:
    cases, found = exclude_leaks(_cases(*CLEAN), [])
    assert cases["exclusion"].null_count() == 5
    assert found == {"exclusions": {}, "allow": []}


def test_a_patient_in_development_and_test_is_a_hard_stop() -> None:
    with pytest.raises(MedaiError, match=r"1 patients are in development and in test \(1\); .*allow=\[patient-overlap\]"):
        exclude_leaks(_cases(*CLEAN, ("f", "1", "u", "test")), [])


def test_the_override_leaves_the_patient_s_development_cases_out_and_is_recorded() -> None:
    cases, found = exclude_leaks(_cases(*CLEAN, ("f", "1", "u", "test")), ["patient-overlap"])
    assert cases.filter(pl.col("exclusion").is_not_null())["case_id"].to_list() == ["a", "b"]
    assert found == {"exclusions": {"patient-in-test": 2}, "allow": ["patient-overlap"]}


def test_a_patient_in_training_and_validation_is_a_hard_stop() -> None:
    with pytest.raises(MedaiError, match="patients are in training and in validation"):
        exclude_leaks(_cases(*CLEAN, ("f", "1", "u", "validation")), [])


def test_test_pixels_in_development_are_a_hard_stop() -> None:
    rows = [*CLEAN, ("f", "9", "w", "validation")]
    with pytest.raises(MedaiError, match=r"1 development images have the pixels of a test image \(f\)"):
        exclude_leaks(_cases(*rows), ["patient-overlap"])
    cases, found = exclude_leaks(_cases(*rows), ["test-pixels-in-development"])
    assert cases.filter(pl.col("exclusion").is_not_null())["case_id"].to_list() == ["f"]
    assert found["allow"] == ["test-pixels-in-development"]


def test_equal_pixels_in_validation_leave_the_training_copies_out() -> None:
    cases, found = exclude_leaks(_cases(*CLEAN, ("f", "9", "z", "train"), ("g", "8", "z", "train")), [])
    assert cases.filter(pl.col("exclusion").is_not_null())["case_id"].to_list() == ["f", "g"]
    assert found == {"exclusions": {"equal-pixels-in-validation": 2}, "allow": []}


def test_unknown_patients_are_never_the_same_patient() -> None:
    cases, _ = exclude_leaks(_cases(("a", None, "x", "train"), ("b", None, "y", "test")), [])
    assert cases["exclusion"].null_count() == 2
