import time

import numpy as np
import polars as pl
import pytest

from medai.cohort.split import KEPT_MOVED, SplitSettings, split_cases
from medai.cohort.stratify import draw_groups, group_counts, patient_groups, stratify
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


def test_a_study_whose_patient_is_not_named_is_on_one_side() -> None:
    studies = pl.Series("study_id", [f"s{number // 5}" for number in range(300)])
    cases, _ = split_cases(_cases(300).with_columns(studies), _labels(300, [0.5]), SplitSettings())
    assert cases["split"].n_unique() == 3
    assert cases.group_by("study_id").agg(pl.col("split").n_unique())["split"].max() == 1


@pytest.mark.parametrize("key", ["test", "validation", "seed"])
def test_a_word_in_the_place_of_a_number_is_told(key: str) -> None:
    with pytest.raises(MedaiError, match=f"dataset.split.{key} is 'abc'; it is a number"):
        SplitSettings.from_dict({key: "abc"})


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
    with pytest.raises(MedaiError, match="names the column 'hospital'; allowed: site, manufacturer"):
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
        ({"tset": 0.1}, "unknown key 'tset'; allowed: validation, test, seed, hold_out, strata"),
        ({"test": 1.5}, r"split.test is 1.5; it is a fraction of all cases in \[0, 1\]"),
        ({"validation": 1.0}, "split.validation is 1.0"),
        ({"test": 0.2, "hold_out": {"site": ["1"]}}, "has test and hold_out; give one of them"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(setting: dict[str, object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        SplitSettings.from_dict(setting)


def _dates(cases: pl.DataFrame, inside: list[int], unknown: tuple[int, ...] = ()) -> pl.DataFrame:
    rows = pl.int_range(len(cases), eager=True)
    return cases.with_columns(period=rows.is_in(inside).set(rows.is_in(list(unknown)), None))


def test_patients_with_a_study_in_a_period_are_test_patients_with_all_their_studies() -> None:
    settings = SplitSettings.from_dict({"hold_out": {"study_date": {"from": "2023-01-01", "to": "2023-12-31"}}, "validation": 0.2})
    cases, method = split_cases(_dates(_cases(300, 100), [0, 1, 2], (7, 8)), _labels(300, [0.3]), settings)
    owners = cases["patient_id"][:3]
    assert ((cases["partition"] == "test") == cases["patient_id"].is_in(owners.implode())).all()
    assert (cases["partition"] == "test").sum() > 3 and "period" not in cases.columns
    assert (method["test"], method["hold_out"], method["undated"]) == ("hold_out", {"study_date": "a period"}, 2)


def test_a_period_s_dates_stand_in_the_record_of_public_data_alone() -> None:
    settings = SplitSettings.from_dict({"hold_out": {"study_date": {"from": "2023-01-01"}}})
    frame, labels = _dates(_cases(30), [3]), _labels(30, [0.3])
    assert split_cases(frame, labels, settings, literal=True)[1]["hold_out"] == {"study_date": {"from": "2023-01-01"}}
    assert "2023" not in str(split_cases(frame, labels, settings)[1])


def test_a_period_and_a_site_can_be_held_out_together() -> None:
    settings = SplitSettings.from_dict({"hold_out": {"site": "2", "study_date": {"to": "2019-12-31"}}})
    cases, _ = split_cases(_dates(_cases(30), [0]), _labels(30, [0.3]), settings)
    expected = (cases["site"] == "2") | (cases["case_id"] == "c0")
    assert ((cases["split"] == "test") == expected).all()


def test_a_period_without_dates_or_without_cases_is_told() -> None:
    settings = SplitSettings.from_dict({"hold_out": {"study_date": {"from": "2023-01-01"}}})
    for frame in (_cases(9), _dates(_cases(9), [], tuple(range(9)))):
        with pytest.raises(MedaiError, match="hold_out.study_date names a period, but no case has a date"):
            split_cases(frame, _labels(9, [0.3]), settings)
    with pytest.raises(MedaiError, match="names a period in which no case lies; check its from and to"):
        split_cases(_dates(_cases(9), []), _labels(9, [0.3]), settings)
    with pytest.raises(MedaiError, match="has test and hold_out"):
        SplitSettings.from_dict({"test": 0.2, "hold_out": {"study_date": {"from": "2023-01-01"}}})


def _grown(count: int, more: int, patients: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cases and labels of which the first `count` are the earlier ones; some of the new ones are of patients already known."""
    return _cases(count + more, patients), _labels(count + more, [0.05, 0.3])


NAMES = ("case_id", "patient_id", "split")


def test_new_studies_leave_every_earlier_patient_in_its_split() -> None:
    cases, labels = _grown(2000, 1500, 1200)
    first, _ = split_cases(cases[:2000], labels[:2000], SplitSettings(validation=0.2, test=0.2))
    order = np.random.default_rng(3).permutation(3500)
    settings = SplitSettings(validation=0.2, test=0.2, seed=99)
    second, method = split_cases(cases[order], labels[order], settings, first.select(NAMES), kept_from="abc")
    both = second.join(first, on="case_id", suffix=".first")
    assert len(both) == 2000 and (both["split"] == both["split.first"]).all()
    by_patient = dict(first.select("patient_id", "split").iter_rows())
    assert all(split == by_patient.get(patient, split) for patient, split in second.select("patient_id", "split").iter_rows())
    assert second.group_by("patient_id").agg(pl.col("split").n_unique())["split"].max() == 1
    kept = method["kept"]
    assert (kept["cohort"], kept["patients"], kept["cases_gone"]) == ("abc", first["patient_id"].n_unique(), 0)
    assert kept["patients"] == kept["train"] + kept["validation"] + kept["test"]
    assert kept["patients"] + kept["new_patients"] == cases["patient_id"].n_unique()


def test_the_new_patients_bring_the_whole_near_the_fractions() -> None:
    cases, labels = _grown(1000, 3000, 3000)
    first, _ = split_cases(cases[:1000], labels[:1000], SplitSettings(validation=0.1, test=0.1))
    second, _ = split_cases(cases, labels, SplitSettings(validation=0.2, test=0.25), first.select(NAMES))
    test, validation = (second["split"] == "test").to_numpy(), (second["split"] == "validation").to_numpy()
    assert test.mean() == pytest.approx(0.25, abs=0.01)
    assert validation.sum() / (~test).sum() == pytest.approx(0.2, abs=0.01)
    for name in labels.columns:
        assert test[labels[name].to_numpy() == 1].mean() == pytest.approx(0.25, abs=0.02)


def test_a_split_that_is_too_large_already_takes_nobody_new() -> None:
    cases, labels = _cases(400), _labels(400, [0.3])
    first, _ = split_cases(cases[:200], labels[:200], SplitSettings(test=0.8))
    second, _ = split_cases(cases, labels, SplitSettings(test=0.1, validation=0), first.select(NAMES))
    assert (second["split"][200:] == "train").all() and (second["split"] == "test").sum() == (first["split"] == "test").sum()


def test_the_same_cases_again_keep_the_whole_split() -> None:
    cases, labels = _cases(500, 200), _labels(500, [0.3])
    first, _ = split_cases(cases, labels, SplitSettings())
    for settings in (SplitSettings(seed=5), SplitSettings(test=0.5, validation=0.4), SplitSettings(test=0, validation=0)):
        again, method = split_cases(cases, labels, settings, first.select(NAMES))
        assert again["split"].equals(first["split"]) and method["kept"]["new_patients"] == 0


def test_a_case_whose_patient_is_unknown_is_known_by_itself_and_a_patient_found_out_later_follows_its_cases() -> None:
    cases, labels = _cases(60), _labels(60, [0.3])
    first, _ = split_cases(cases, labels, SplitSettings(test=0.3, validation=0.3))
    again, _ = split_cases(cases, labels, SplitSettings(seed=4), first.select(NAMES))
    assert again["split"].equals(first["split"])
    in_test = first.with_row_index().filter(pl.col("split") == "test")["index"][0]
    in_train = first.with_row_index().filter(pl.col("split") == "train")["index"][0]
    found_out = cases.with_columns(patient_id=pl.when(pl.int_range(60).is_in([in_test, in_train])).then(pl.lit("P")))
    later, _ = split_cases(found_out, labels, SplitSettings(), first.select(NAMES))
    assert later["split"][in_test] == later["split"][in_train] == "test"


def test_a_kept_patient_whom_the_settings_move_is_a_hard_stop_that_can_be_overridden() -> None:
    cases, labels = _cases(300), _labels(300, [0.3])
    first, _ = split_cases(cases[:200], labels[:200], SplitSettings(validation=0.2))
    settings = SplitSettings(hold_out={"site": ["2"]}, validation=0.2)
    moved = ((first["site"] == "2") & (first["split"] != "test")).sum()
    message = rf"{moved} patients of the earlier cohort would change their split .* let them stay .* with allow=\[kept-patients-moved\]"
    with pytest.raises(MedaiError, match=message):
        split_cases(cases, labels, settings, first.select(NAMES))
    second, method = split_cases(cases, labels, settings, first.select(NAMES), allow=[KEPT_MOVED])
    assert second["split"][:200].equals(first["split"]) and method["kept"]["patients_not_moved"] == moved
    assert (second.filter((pl.col("site") == "2") & ~pl.col("case_id").is_in(first["case_id"].implode()))["split"] == "test").all()


def test_a_source_s_split_may_not_move_a_kept_patient_either() -> None:
    cases, labels = _cases(30), _labels(30, [0.3])
    told = cases.with_columns(source_split=pl.Series(["train"] * 10 + ["validation"] * 10 + ["test"] * 10))
    first, _ = split_cases(told, labels, SplitSettings())
    assert split_cases(told, labels, SplitSettings(), first.select(NAMES))[0]["split"].equals(first["split"])
    swapped = told.with_columns(source_split=told["source_split"].reverse())
    with pytest.raises(MedaiError, match="20 patients of the earlier cohort would change their split by the table's split column"):
        split_cases(swapped, labels, SplitSettings(), first.select(NAMES))
    stayed, _ = split_cases(swapped, labels, SplitSettings(), first.select(NAMES), allow=[KEPT_MOVED])
    assert stayed["split"].equals(first["split"])


def test_a_cohort_of_other_patients_cannot_be_kept() -> None:
    other = pl.DataFrame({"case_id": ["z"], "patient_id": ["q"], "split": ["train"]})
    with pytest.raises(MedaiError, match="none of the 1 cases of the earlier cohort is among the 30 new ones, .* with the same site's key"):
        split_cases(_cases(30, 9), _labels(30, [0.3]), SplitSettings(), other)


def test_a_site_s_share_is_kept_where_it_is_a_stratum() -> None:
    random = np.random.default_rng(0)
    cases = _cases(900, 400).with_columns(site=pl.Series(random.choice(["a", "b", "c"], 900, p=[0.9, 0.07, 0.03])))
    settings = SplitSettings.from_dict({"test": 0.2, "strata": ["site"]})
    split, method = split_cases(cases, _labels(900, [0.3]), settings)
    for site in "abc":
        assert (split.filter(pl.col("site") == site)["split"] == "test").mean() == pytest.approx(0.2, abs=0.03)
    assert method["stratified_by"] == ["l0", "site"]
    with pytest.raises(MedaiError, match="dataset.split.strata names the column 'hospital'; allowed: site, manufacturer"):
        split_cases(cases, _labels(900, [0.3]), SplitSettings(strata=("hospital",)))


def test_patients_are_numbered_in_the_order_of_their_names() -> None:
    frame = pl.DataFrame({"case_id": ["9", "b", "a", "10"], "patient_id": ["Z", None, "ä", "Z"]})
    names = np.array(["pZ", "cb", "pä", "pZ"])
    assert patient_groups(frame).tolist() == np.unique(names, return_inverse=True)[1].tolist()


def test_fixed_groups_count_in_the_fraction() -> None:
    random = np.random.default_rng(0)
    counts = group_counts(np.arange(200), pl.DataFrame({"l": random.integers(0, 2, 200)}))
    fixed = np.full(200, -1, dtype=np.int8)
    fixed[:30], fixed[30:100] = 1, 0
    chosen = stratify(counts, 0.25, fixed)
    assert chosen[:30].all() and not chosen[30:100].any() and chosen.sum() == pytest.approx(50, abs=1)


def test_sixty_thousand_patients_with_fourteen_labels_take_seconds() -> None:
    cases, labels = (
        _cases(120_000, 60_000),
        _labels(120_000, [0.002, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3]),
    )
    start = time.monotonic()
    split_cases(cases, labels, SplitSettings())
    assert time.monotonic() - start < 30  # 1 to 2 s when the machine is free


@pytest.mark.parametrize("column", ["position", "shard", "pixel_hash", "site_of_birth"])
def test_a_stratum_that_no_user_can_mean_is_told_with_the_settings(column: str) -> None:
    with pytest.raises(MedaiError, match="allowed: site, manufacturer, model, modality") as told:
        SplitSettings.from_dict({"strata": [column]})
    assert "shard," not in str(told.value) and "\n" not in str(told.value)


def test_a_draw_that_leaves_a_split_empty_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cases = pl.DataFrame({"case_id": [f"c{number}" for number in range(3)], "patient_id": ["a", "b", "c"]}).with_columns(
        source_split=pl.lit(None, dtype=pl.String)
    )
    split, _ = split_cases(cases, _labels(3, [0.0]), SplitSettings())
    empty = {"validation", "test"} - set(split["split"])
    (line,) = capsys.readouterr().err.splitlines()
    assert empty and all(name in line for name in empty) and "0 cases" in line and "there are 3" in line
    split_cases(cases, _labels(3, [0.0]), SplitSettings(validation=0, test=0))
    split_cases(_cases(300), _labels(300, [0.3]), SplitSettings())
    assert capsys.readouterr().err == ""
