"""`medai compare | precision | seal | audit-ledger` as people type them: exit codes, one line for each fault, what is printed."""

import json
from pathlib import Path

import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from tests.inference.hospital import auroc_of, cohort_in, line_of, scores_of

FEW = ["--replicates", "40", "--permutations", "20"]


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def tables(hospital: Cohort, tmp_path: Path) -> dict[str, Path]:
    """Three candidates on the same cases; `new` lacks ten of them."""
    made = {}
    for name, seed, strength in (("old", 0, 1.0), ("new", 1, 2.5), ("third", 2, 1.2)):
        table = scores_of(hospital, seed=seed, strength=strength)
        (table.head(150) if name == "new" else table).write_csv(tmp_path / f"{name}.csv")
        made[name] = tmp_path / f"{name}.csv"
    return made


def test_compare_counts_the_cases_that_it_leaves_out(tables: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["compare", str(tables["old"]), str(tables["new"]), *FEW]
    assert "10 of the 160" in line_of(capsys, given) or "--common" in line_of(capsys, given)
    assert main([*given, "--common", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["cases"] == 150 and record["left_out"] == {"old": 10, "new": 0}
    shared = {name: pl.read_csv(path).head(150) for name, path in tables.items()}
    (told,) = [each for each in record["labels"]["sick"]["differences"] if each["metric"] == "auroc"]
    assert told["value"] == pytest.approx(auroc_of(shared["new"]) - auroc_of(shared["old"]))


def test_compare_takes_the_reference_by_name_or_each_two(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", *map(str, tables.values()), "--common", *FEW]
    assert main([*given, "--reference", "third", "--metric", "brier", "--output", str(tmp_path / "page")]) == 0
    told = capsys.readouterr().out
    assert "old − third" in told and "new − third" in told and "new − old" not in told
    assert str(tmp_path / "page/comparison.html") in told and (tmp_path / "page/comparison.html").is_file()
    assert main([*given, "--all-pairs"]) == 0
    told = capsys.readouterr().out
    assert told.count(" − ") >= 3 and "comparison " not in told


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--reference", "best"], "best"),
        (["--metric", "dice"], "dice"),
        (["--margin", "-1"], "margin"),
        (["--threshold", "sick=2"], "sick"),
        (["--confidence", "95"], "95"),
    ],
)
def test_a_comparison_that_cannot_be_is_one_line(
    tables: dict[str, Path], extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in line_of(capsys, ["compare", str(tables["old"]), str(tables["third"]), *FEW, *extra])


def test_precision_reads_a_sealed_cohort_and_writes_its_plan(hospital: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "office" / "key"
    assert main(["seal", str(hospital.path), "--key", str(key), "--metric", "auroc:sick", "--attempts", "1"]) == 0
    capsys.readouterr()
    assert main(["precision", str(hospital.path), "--auroc", "0.8", "--half-width", "0.02", "--output", str(tmp_path / "plan.json")]) == 0
    told, plan = capsys.readouterr().out, json.loads((tmp_path / "plan.json").read_text())
    assert "160 cases of 160 patients" in told and "assumed: auroc 0.8" in told and str(tmp_path / "plan.json") in told
    record = plan["labels"]["sick"]
    assert record["events"] == round(160 * 29 / 80) and record["cases_needed"] > 160 and f"{record['cases_needed']:,}" in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["precision", "--cases", "100"], "name a cohort, or --cases N and --prevalence P"),
        (["precision", "--cases", "100", "--prevalence", "1.2"], "prevalence"),
        (["precision", "--cases", "10", "--patients", "20", "--prevalence", "0.1"], "10 cases and 20 patients"),
        (["precision", "nowhere"], "the cohort nowhere does not exist"),
        (["audit-ledger", "nowhere", "--key", "key"], "the cohort nowhere does not exist"),
        (["seal", "nowhere", "--key", "key", "--metric", "auroc:x", "--attempts", "3"], "the cohort nowhere does not exist"),
        (["seal", "nowhere", "--key", "key", "--metric", "auroc:x", "--attempts", "0"], "attempts is 0"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in line_of(capsys, given)


def test_an_unsealed_cohort_has_no_ledger_and_a_sealed_one_no_second_seal(
    hospital: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = str(tmp_path / "office" / "key")
    given = ["seal", str(hospital.path), "--key", key, "--metric", "auroc:sick", "--attempts", "2"]
    assert "name" in (line := line_of(capsys, ["audit-ledger", str(hospital.path), "--key", key])) or "key" in line
    assert main(given) == 0
    assert "sealed already" in line_of(capsys, given)
    (tmp_path / "other").mkdir()
    other = ["--key", str(tmp_path / "other/key")]
    assert line_of(capsys, ["audit-ledger", str(hospital.path), *other]) and not (tmp_path / "other/key").exists()
