from pathlib import Path

import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.table import annotate, check_zeros, find_table, match_files, read_table, role_columns
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
    with pytest.raises(MedaiError, match="row 3: the split is 'holdout'; allowed: train, validation, test"):
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


def test_a_sheet_s_workbook_is_found(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").touch()
    assert find_table("t.xlsx!Round 2", tmp_path) == tmp_path / "t.xlsx"
    with pytest.raises(MedaiError, match="dataset.labels u.xlsx does not exist"):
        find_table("u.xlsx!Round 2", tmp_path)


def test_a_file_s_number_that_lost_its_zeros_is_told_and_not_quarantined() -> None:
    items = pl.Series(["a/0007.dcm", "a/0012.dcm", "a/1234.dcm"])
    with pytest.raises(
        MedaiError, match=r"2 rows of the label table name no file as they stand, but would with other leading zeros"
    ) as told:
        match_files(_keys("7", "12.dcm", "12", "1234"), items)
    assert "(e.g. digits in the table: 1, in the file's own number: 4): keep the column as text" in str(told.value)
    assert match_files(_keys("8", "1234"), items)[1].to_list() == ["8"]


def test_a_patient_s_number_that_lost_its_zeros_is_told_without_the_number() -> None:
    with pytest.raises(MedaiError, match="1 rows of the label table name no patient as they stand") as told:
        check_zeros(pl.Series(["4711", "99", "x7"]), pl.Series(["004711", "088", None, "0x7"]), "patient")
    assert "4711" not in str(told.value)
    check_zeros(pl.Series(["4711", "0"]), pl.Series(["4712", None], dtype=pl.String), "patient")
    check_zeros(pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.String), "patient")


def test_a_number_that_a_spreadsheet_rounded_is_refused() -> None:
    frame = pl.DataFrame({"accession": ["20230101", "2,02301E+13"]})
    with pytest.raises(MedaiError, match=r"row 3: 'accession' is '2,02301E\+13', which a spreadsheet has made of a longer number"):
        annotate(frame, {}, (), "accession", Path("t.csv"))


def test_what_is_not_utf_8_is_refused_where_it_matters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("file,note,sick\nMüller.dcm,x,1\nb.dcm,ä,0\n".encode("latin-1"))
    frame, targets = read_table(tmp_path / "t.csv"), parse_targets(["sick"])
    with pytest.raises(MedaiError, match="row 2: 'file' is not encoded as UTF-8; save the table as UTF-8"):
        annotate(frame, {}, targets, "file", Path("t.csv"))
    assert len(annotate(frame, {}, targets, "sick", Path("t.csv"))[0]) == 2


def test_an_accession_number_is_a_role() -> None:
    frame = pl.DataFrame({"Acc No": ["12.0", "007"], "sick": ["1", "0"]})
    roles = role_columns(frame, {"accession": "Acc No"}, Path("t.csv"))
    table, _ = annotate(frame, roles, parse_targets(["sick"]), roles["accession"], Path("t.csv"))
    assert table.select("key", "label.sick").rows() == [("12", 1), ("007", 0)]


def test_no_row_is_dropped_in_silence() -> None:
    frame = pl.DataFrame({"f": ["a", None, "b"], "x": ["1", "0", "1"]})
    with pytest.raises(MedaiError, match="row 3 has an empty 'f'; every row needs one"):
        annotate(frame, {}, parse_targets(["x"]), "f", Path("t.csv"))
    found, absent = match_files(_keys("a", "b", "c"), pl.Series(["a.png", "d.png"]))
    assert len(found) + len(absent) == 3


def test_a_binary_an_ordinal_a_multiclass_and_listed_labels_stand_side_by_side() -> None:
    frame = pl.DataFrame(
        {
            "f": ["a", "b", "c", "d"],
            "sick": ["1", "-1", "", "0"],
            "grade": ["mild", "none", "-1", ""],
            "kind": ["x", "z", "", "y"],
            "Finding Labels": ["Effusion|Mass", "No Finding", "mass", None],
        }
    )
    targets = parse_targets(
        [
            "sick",
            {"name": "grade", "kind": "ordinal", "classes": ["none", "mild", "severe"], "uncertain": -1},
            "kind",
            {"name": "effusion", "column": "Finding Labels", "contains": "Effusion"},
            {"name": "mass", "column": "Finding Labels", "contains": "Mass"},
        ]
    )
    table, labels = annotate(frame, {}, targets, "f", Path("t.csv"))
    assert [label.kind for label in labels] == ["binary", "ordinal", "multiclass", "binary", "binary"]
    assert {name: table[f"label.{name}"].to_list() for name in ("sick", "grade", "kind", "effusion", "mass")} == {
        "sick": [1, None, None, 0], "grade": [1, 0, None, None], "kind": [0, 2, None, 1],
        "effusion": [1, 0, 0, None], "mass": [1, 0, 1, None],
    }  # fmt: skip
    assert table["label.sick.uncertain"].to_list() == [False, True, False, False]
    assert table["label.grade.uncertain"].to_list() == [False, False, True, False]
    assert not [name for name in table.columns if name.endswith(".votes")]
