"""Tables as vendors and hospitals write them: read where that is safe, and otherwise one line that says what to do."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.predictions import scored_labels, with_truth
from medai.evaluation.table import check_against, check_predictions, infer_labels, one_class, read_predictions, target_of
from medai.evaluation.table_file import read_table

LABEL = Label("x", "binary", ("healthy", "ill"))


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "vendor.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_byte_order_mark_and_spaces_around_names_and_values_are_taken_off(tmp_path: Path) -> None:
    text = "case_id , patient_id, target.x , probability.x\n007 , p1 , 1 , 0.9\n008, NA, , 0.25\n"
    table = read_predictions(write(tmp_path, text, "utf-8-sig"))
    assert table.columns == ["case_id", "patient_id", "target.x", "probability.x"]
    assert table["case_id"].to_list() == ["007", "008"]
    assert table["patient_id"].to_list() == ["p1", None]
    assert table["probability.x"].to_list() == [0.9, 0.25]
    assert target_of(table, infer_labels(table)[0]).tolist() == [1, -1]


def test_text_of_a_parquet_table_stays_text_unless_it_is_a_probability(tmp_path: Path) -> None:
    frame = pl.DataFrame({"case_id": ["01", "02"], "site": ["01", "02"], "target.x": ["1", "0"], "probability.x": ["0.5", " 0.1"]})
    frame.write_parquet(tmp_path / "scores.parquet")
    table = read_predictions(tmp_path / "scores.parquet")
    assert table["site"].to_list() == ["01", "02"]
    assert table["probability.x"].to_list() == [0.5, 0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id;target.x;probability.x\na;1;0,5\n", "columns separated by semicolons; save it with commas, and decimals with a point"),
        ("case_id\ttarget.x\tprobability.x\na\t1\t0.5\n", "separated by tabs"),
        (
            'case_id,target.x,probability.x\na,1,"0,5"\n',
            "not numeric .it is '0,5' for case 'a': write decimals with a point",
        ),
        ("case_id,target.x,probability.x\na,1,0.2\nb,0,93%\n", "it is '93%' for case 'b': write 0.93 instead of 93%"),
        ("case_id,target.x,probability.x\na,1,0.2\nb,0,high\n", "it is 'high' for case 'b'"),
        ("case_id,target.x,probability.x\na,1,93\nb,0,2.5\n", "outside 0 to 1 for case 'a'.*not logits or per cent"),
        ("case_id,target.x,probability.x\na,1,3.1\nb,0,-2.5\n", "give probabilities, not logits$"),
        ("case_id,target.x,probability.x\na,1,inf\n", "outside 0 to 1"),
        ("Image ID,target.x,probability.x\na,1,0.5\n", "'case_id' is missing; got Image ID, .*; rename 'Image ID' to 'case_id'"),
        ("病例号,target.x,probability.x\na,1,0.5\n", "rename '病例号' to 'case_id'"),
        (
            "case_id,Label,Score\na,1,0.5\n",
            "no column 'target.<label>'.*rename 'Label' to 'target.<label>' and 'Score' to 'probability.<label>', with the label's name",
        ),
        ("case_id,target.x,y_score\na,1,0.5\n", "column 'probability.x' is missing .*rename 'y_score' to 'probability.<label>'"),
        ("case_id,Target.x,Probability.x\na,1,0.5\n", "rename 'Target.x' to 'target.x'"),
        ("case_id,target.x,probability_x\na,1,0.5\n", "rename 'probability_x' to 'probability.x'"),
        ("case_id,target.x,probability.x,probability.x\na,1,0.5,0.6\n", "has the column 'probability.x' 2 times"),
        ("case_id,target.x,probability.x\n a,1,0.5\na ,1,0.5\n", "'a' occurs more than once"),
    ],
)
def test_each_odd_habit_is_one_line_that_says_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MedaiError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "message"), [("utf-16", "is UTF-16 text; save it as 'CSV UTF-8'"), ("gbk", "it is not UTF-8; save it as 'CSV UTF-8'")]
)
def test_other_encodings_are_named(tmp_path: Path, encoding: str, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        read_predictions(write(tmp_path, "case_id,target.x,probability.x,医院\na,1,0.5,第一人民医院\n", encoding))


def test_a_far_line_in_another_encoding_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"
    rows = "".join(f"c{i},0,0.5,A\n" for i in range(5000))
    path.write_bytes(("case_id,target.x,probability.x,site\n" + rows).encode() + "z,1,0.5,第一人民医院\n".encode("gbk"))
    with pytest.raises(MedaiError, match="it is not UTF-8"):
        read_predictions(path)


def test_a_workbook_is_told_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "scores.xlsx").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(MedaiError, match="is a workbook or an archive; save it as 'CSV UTF-8', or as Parquet"):
        read_predictions(tmp_path / "scores.xlsx")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="is a folder; give the file in it that holds a table of predictions"):
        read_table(tmp_path)


def scores(*cases: str, truth: list[int | None] | None = None) -> pl.DataFrame:
    return check_predictions(
        pl.DataFrame({"case_id": cases, "probability.x": [0.5] * len(cases)}).with_columns(
            pl.Series("target.x", truth if truth is not None else [1] * len(cases), dtype=pl.Int64)
        )
    )


def test_a_table_that_holds_every_case_passes() -> None:
    assert check_against(["a", "b"], scores("b", "a")) == ()


def test_unknown_cases_are_refused_and_a_twin_is_named() -> None:
    with pytest.raises(MedaiError, match=r"case 'z' is not among the 2 of the cohort \(2 such rows\); take it out of the table"):
        check_against(["a", "b"], scores("a", "z", "y"))
    with pytest.raises(MedaiError, match=r"case '7.PNG' is not among the 1 of NIH test \(1 such rows\); did you mean '007'\?"):
        check_against(["007"], scores("7.PNG"), name="NIH test")


def test_missing_cases_are_refused_or_given_back() -> None:
    with pytest.raises(MedaiError, match="2 of the 3 cases of the cohort have no row, the first is 'b'; give a probability for every case"):
        check_against(["a", "b", "c"], scores("a"))
    assert check_against(["c", "a", "b"], scores("a"), allow_missing=True) == ("c", "b")


def test_labels_of_one_class_are_one_line_each() -> None:
    assert one_class(scores("a", "b", truth=[0, 1]), [LABEL]) == ()
    (line,) = one_class(scores("a", "b", "c", truth=[1, 1, None]), [LABEL])
    assert line.startswith("label 'x' has one class only, all 2 known cases are 'ill'")
    (line,) = one_class(scores("a", truth=[None]), [LABEL])
    assert "no known truth" in line and "target.x" in line


def cohort() -> pl.DataFrame:
    """As a cohort gives its cases: a class index a label."""
    return pl.DataFrame(
        {"case_id": ["c", "a", "b"], "patient_id": ["p", "p", "q"], "site": ["S", "S", "T"], "x": [1, 0, None], "shape": ["1x1"] * 3}
    )


def test_scores_alone_get_the_truth_of_a_cohort() -> None:
    table = with_truth(
        pl.DataFrame({"case_id": ["a", "c"], "probability.x": [0.1, 0.8], "site": ["?", "?"], "reader": ["R", "R"]}), cohort(), [LABEL]
    )
    assert table.select("case_id", "patient_id", "site", "target.x", "probability.x", "reader").rows() == [
        ("c", "p", "S", 1, 0.8, "R"),
        ("a", "p", "S", 0, 0.1, "R"),
    ]
    check_predictions(table, [LABEL])


def test_a_truth_of_the_scores_own_has_to_be_that_of_the_cohort() -> None:
    with_truth(pl.DataFrame({"case_id": ["a", "c"], "probability.x": [0.1, 0.8], "target.x": ["healthy", None]}), cohort(), [LABEL])
    wrong = pl.DataFrame({"case_id": ["a", "c"], "probability.x": [0.1, 0.8], "target.x": [1, 1]})
    with pytest.raises(MedaiError, match=r"target.x is 1 for case 'a' and 0 in the cohort \(1 such rows\); leave the column out"):
        with_truth(wrong, cohort(), [LABEL])


def test_the_labels_that_scores_have_are_found_among_those_of_the_cohort() -> None:
    grade = Label("g", "ordinal", ("low", "mid", "high"))
    frame = pl.DataFrame({"case_id": ["a"], "probability.x": [0.5], "Score": [1]})
    assert scored_labels(frame, [LABEL, grade]) == (LABEL,)
    with pytest.raises(MedaiError, match="no column of a label of the cohort; expected 'probability.g.low', .*; rename 'Score' to"):
        scored_labels(frame, [grade])
    with pytest.raises(MedaiError, match="column 'probability.g.mid' is missing, though other classes of 'g' are there"):
        scored_labels(frame.with_columns(pl.lit(1.0).alias("probability.g.low")), [LABEL, grade])


def test_a_compressed_table_is_told_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv.gz"
    path.write_bytes(gzip.compress(b"case_id,target.x,probability.x\na,1,0.5\n"))
    with pytest.raises(MedaiError, match=r"vendor.csv.gz is compressed with gzip; unpack it first: gunzip -k "):
        read_predictions(path)


@pytest.mark.parametrize(("column", "near"), [("probability.Nodule", True), ("probability.nodul", True), ("probability.effusion", False)])
def test_a_column_of_nearly_the_name_is_named(tmp_path: Path, column: str, near: bool) -> None:
    path = write(tmp_path, f"case_id,target.nodule,{column}\na,1,0.5\nb,0,0.2\n")
    hint = f"; did you mean {column!r}? Rename it to 'probability.nodule'"
    for labels in (None, [Label("nodule", "binary", ("no", "yes"))]):
        with pytest.raises(MedaiError, match="column 'probability.nodule' is missing") as told:
            read_predictions(path, labels)
        assert str(told.value).endswith(hint) == near
