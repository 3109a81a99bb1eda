import time

import numpy as np
import polars as pl
import pytest

from medai.cohort.split import SplitSettings, draw_groups, split_cases
from medai.core.error import MedaiError


def _cases(count: int, patients: int | None = None, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    owner = [f"p{number}" for number in random.integers(0, patients, count)] if patients else [None] * count
    return pl.DataFrame(
        {"case_id": [f"c{number}" for number in range(count)], "patient_id": pl.Series(owner, dtype=pl.String)}
    ).with_columns(source_split=pl.lit(None, dtype=pl.String), site=pl.Series([str(number % 3) for number in range(count)]))


def _labels(count: int, rates: list[float], seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame({f"l{index}": (random.random(count) < rate).astype(np.int8) for index, rate in enumerate(rates)})


def test_no_patient_is_on_two_sides() -> None:
    cases, _ = split_cases(_cases(3000, 700), _labels(3000, [0.1, 0.5]), SplitSettings())
    sides = cases.group_by("patient_id").agg(pl.col("split").n_unique())
    assert sides["split"].max() == 1


def test_fractions_and_label_frequencies_are_kept() -> None:
    labels = _labels(6000, [0.01, 0.05, 0.3])
    cases, method = split_cases(_cases(6000, 2500), labels, SplitSettings(validation=0.2, test=0.25, seed=3))
    test, validation = (cases["split"] == "test").to_numpy(), (cases["split"] == "validation").to_numpy()
    assert test.mean() == pytest.approx(0.25, abs=0.01)
    assert validation.sum() / (~test).sum() == pytest.approx(0.2, abs=0.01)
    for name in labels.columns:
        positive = labels[name].to_numpy() == 1
        assert test[positive].mean() == pytest.approx(0.25, abs=0.03)
        assert validation[positive].sum() / (positive & ~test).sum() == pytest.approx(0.2, abs=0.03)
    assert method["test"] == "fraction 0.25 of all cases" and method["seed"] == 3


def test_cases_without_a_patient_are_stratified_one_by_one() -> None:
    labels = _labels(1000, [0.03])
    cases, _ = split_cases(_cases(1000), labels, SplitSettings(test=0.2))
    assert ((cases["split"] == "test") & (labels["l0"] == 1)).sum() == pytest.approx(0.2 * labels["l0"].sum(), abs=1)


def test_a_patient_with_many_cases_does_not_burst_a_small_split() -> None:
    frame = _cases(1000, 200).with_columns(patient_id=pl.when(pl.int_range(1000) < 300).then(pl.lit("big")).otherwise("patient_id"))
    chosen = draw_groups(frame, _labels(1000, [0.5]), 0.1, 0, "s")
    assert chosen.mean() == pytest.approx(0.1, abs=0.02)


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    cases, labels = _cases(500, 100), _labels(500, [0.2])
    chosen = draw_groups(cases, labels, 0.3, 0, "s")
    order = np.random.default_rng(5).permutation(500)
    assert (draw_groups(cases[order], labels[order], 0.3, 0, "s") == chosen[order]).all()
    assert (draw_groups(cases, labels, 0.3, 1, "s") != chosen).any()


def test_unknown_labels_do_not_stop_the_split() -> None:
    labels = pl.DataFrame({"l": pl.Series([None] * 200, dtype=pl.Int8)})
    cases, _ = split_cases(_cases(200), labels, SplitSettings(test=0.1, validation=0))
    assert (cases["split"] == "test").sum() == 20 and not (cases["split"] == "validation").any()


def test_a_site_is_held_out_and_validation_comes_from_the_rest() -> None:
    cases, method = split_cases(_cases(300), _labels(300, [0.3]), SplitSettings.from_dict({"hold_out": {"site": ["2"]}, "validation": 0.2}))
    assert (cases.filter(pl.col("site") == "2")["partition"] == "test").all()
    assert (cases.filter(pl.col("site") != "2")["partition"] == "development").all()
    assert (cases["split"] == "validation").sum() == pytest.approx(40, abs=1)
    assert method["hold_out"] == {"site": ["2"]}


def test_a_site_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(MedaiError, match=r"hold_out.site is '50', which no case has; the values are: 0, 1, 2"):
        split_cases(_cases(30), _labels(30, [0.3]), SplitSettings(hold_out={"site": ["50"]}))
    with pytest.raises(MedaiError, match="names the column 'hospital'; the cases have: case_id"):
        split_cases(_cases(30), _labels(30, [0.3]), SplitSettings(hold_out={"hospital": ["50"]}))


def test_every_case_can_be_a_test_case_where_the_source_says_nothing() -> None:
    settings = SplitSettings.from_dict({"test": 1.0, "validation": 0})
    cases, _ = split_cases(_cases(10), _labels(10, [0.3]), settings)
    assert (cases["partition"] == "test").all() and (cases["split"] == "test").all()
    told = _cases(10).with_columns(source_split=pl.Series(["train"] * 7 + ["test"] * 3))
    cases, _ = split_cases(told, _labels(10, [0.3]), settings)
    assert (cases["partition"] == "test").sum() == 3


def test_the_source_s_own_split_is_kept() -> None:
    frame = _cases(90).with_columns(source_split=pl.Series(["train", "validation", "test"] * 30))
    cases, method = split_cases(frame, _labels(90, [0.3]), SplitSettings())
    assert cases["split"].to_list() == ["train", "validation", "test"] * 30
    assert (method["test"], method["validation"]) == ("source", "source")


def test_validation_that_the_source_lacks_is_drawn_from_its_training_cases() -> None:
    frame = _cases(200).with_columns(source_split=pl.Series(["train"] * 150 + ["test"] * 50))
    cases, method = split_cases(frame, _labels(200, [0.3]), SplitSettings(validation=0.2))
    assert cases["split"][150:].to_list() == ["test"] * 50
    assert (cases["split"][:150] == "validation").sum() == pytest.approx(30, abs=1)
    assert method["validation"] == "fraction 0.2 of development"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tset": 0.1}, "unknown key 'tset'; allowed: validation, test, seed, hold_out"),
        ({"test": 1.5}, r"split.test is 1.5; it is a fraction of all cases in \[0, 1\]"),
        ({"validation": 1.0}, "split.validation is 1.0"),
        ({"test": 0.2, "hold_out": {"site": ["1"]}}, "has test and hold_out; give one of them"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(setting: dict[str, object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        SplitSettings.from_dict(setting)


def test_sixty_thousand_patients_with_fourteen_labels_take_seconds() -> None:
    cases, labels = (
        _cases(120_000, 60_000),
        _labels(120_000, [0.002, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3]),
    )
    start = time.monotonic()
    split_cases(cases, labels, SplitSettings())
    assert time.monotonic() - start < 30  # 1 to 2 s when the machine is free
