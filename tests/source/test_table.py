from pathlib import Path

import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.table import annotate, find_table, match_files, read_table, role_columns
from medai.source.target import parse_targets


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_cells_stay_text_whatever_separates_them(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufefffile,age\na.png,063Y\nb.png,007\n".replace(",", separator), encoding="utf-8")
    assert read_table(path).to_dict(as_series=False) == {"file": ["a.png", "b.png"], "age": ["063Y", "007"]}


def test_parquet_is_read_too(tmp_path: Path) -> None:
    pl.DataFrame({"file": ["a"], "x": [1]}).write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").row(0) == ("a", "1")


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("file,x\n")
    with pytest.raises(MedaiError, match="holds no rows"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(MedaiError, match="cannot be read as a table"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(MedaiError, match=r"dataset.labels t.csv does not exist, neither here nor in"):
        find_table("t.csv", tmp_path)


def test_a_column_that_is_not_there_lists_those_that_are() -> None:
    frame = pl.DataFrame({"a": ["1"], "b": ["2"]})
    with pytest.raises(MedaiError, match=r"t.csv has no column 'c' \(target 'c'\); its columns: a, b"):
        annotate(frame, {}, parse_targets(["c"]), "a", Path("t.csv"))
    with pytest.raises(MedaiError, match=r"has no column 'mrn' \(dataset.columns.patient\)"):
        role_columns(frame, {"patient": "mrn"}, Path("t.csv"))
    with pytest.raises(MedaiError, match="unknown key 'paitent'; allowed: file, patient"):
        role_columns(frame, {"paitent": "a"}, Path("t.csv"))


def test_persons_and_splits_are_brought_to_one_form() -> None:
    frame = pl.DataFrame(
        {
            "f": ["a", "b", "c"],
            "sex": ["male", "F", "?"],
            "age": ["063Y", "95", ""],
            "split": ["val", "TRAIN", "test"],
            "mrn": ["1.0", "x", ""],
        }
    )
    roles = role_columns(frame, {"patient": "mrn"}, Path("t.csv"))
    table, _ = annotate(frame, roles, (), "f", Path("t.csv"))
    assert table["sex"].to_list() == ["M", "F", None]
    assert table["age_years"].to_list() == [63.0, 90.0, None]
    assert table["split"].to_list() == ["validation", "train", "test"]
    assert table["patient"].to_list() == ["1", "x", None]


def test_a_split_that_is_none_names_its_row() -> None:
    frame = pl.DataFrame({"f": ["a", "b"], "split": ["train", "holdout"]})
    with pytest.raises(MedaiError, match="row 2: the split is 'holdout'; allowed: train, validation, test"):
        annotate(frame, {"split": "split"}, (), "f", Path("t.csv"))


def test_rows_that_contradict_each_other_are_refused_and_repeated_rows_are_one() -> None:
    targets = parse_targets([{"name": "x", "classes": ["no", "yes"]}])
    frame = pl.DataFrame({"f": ["a", "a", "b"], "x": ["0", "0", "1"]})
    assert len(annotate(frame, {}, targets, "f", Path("t.csv"))[0]) == 2
    with pytest.raises(MedaiError, match="several rows that differ for f = 'a'"):
        annotate(frame.with_columns(x=pl.Series(["0", "1", "1"])), {}, targets, "f", Path("t.csv"))


def _keys(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"key": names, "label.x": list(range(len(names)))})


def test_files_are_found_by_path_name_or_stem() -> None:
    items = pl.Series(["a/1.png", "b/2.png", "b/3.tar.png", "c/4.png"])
    found, absent = match_files(_keys("a\\1.png", "2.png", "3.tar", "./c/4.png", "5.png"), items)
    assert dict(found.select("key", "label.x").iter_rows()) == {"a/1.png": 0, "b/2.png": 1, "b/3.tar.png": 2, "c/4.png": 3}
    assert absent.to_list() == ["5.png"]


def test_a_name_that_fits_two_files_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"'1.png', which fits several \(a/1.png, b/1.png\); give paths relative"):
        match_files(_keys("1.png"), pl.Series(["a/1.png", "b/1.png"]))


def test_two_rows_of_one_file_are_refused() -> None:
    with pytest.raises(MedaiError, match=r"in several rows; give one row for each file"):
        match_files(_keys("a/1.png", "1"), pl.Series(["a/1.png", "b/2.png"]))
