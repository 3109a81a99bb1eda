"""A sealed test set from the command line: what is released, what is counted, and that the truth is in nothing that is written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.evaluation.frozen_point import choose_points, write_points
from medai.evaluation.table import infer_labels
from tests.inference.conftest import WriteContract, WriteModel
from tests.inference.hospital import QUICK, SCALE, auroc_of, cohort_in, command, line_of, metrics_in, scores_of

Sealed = Callable[..., Path]
Submit = Callable[..., list[str]]


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def truth(hospital: Cohort) -> pl.DataFrame:
    """What this test alone still knows once the cohort is sealed."""
    return scores_of(hospital)


@pytest.fixture
def seal(hospital: Cohort, truth: pl.DataFrame, tmp_path: Path) -> Sealed:
    """Seals the cohort; gives the key."""

    def sealed(*terms: str, attempts: int = 3) -> Path:
        key = tmp_path / "office" / "evaluator.key"
        given = [str(hospital.path), "--key", str(key), "--metric", "auroc:sick", "--attempts", str(attempts), *terms]
        assert command(["seal", *given]) == 0
        return key

    return sealed


@pytest.fixture
def submit(write_model: WriteModel, write_contract: WriteContract, hospital: Cohort) -> Submit:
    """The command line of a vendor's model; `weight` makes another model of it."""

    def submitted(weight: float = 1.0, *extra: str) -> list[str]:
        name = f"vendor-{weight:g}.onnx"
        model, contract = write_model([[weight]], name=name), write_contract(name.replace(".onnx", ".yaml"), **SCALE)
        return ["evaluate", f"candidate={model}", f"contract={contract}", f"cohorts={hospital.path}", *QUICK, *extra]

    return submitted


def audit(hospital: Cohort, key: Path, capsys: pytest.CaptureFixture[str], *extra: str) -> tuple[int, str]:
    capsys.readouterr()
    code = command(["audit-ledger", str(hospital.path), "--key", str(key), *extra])
    return code, capsys.readouterr().out


def test_a_vendors_model_goes_from_the_seal_to_a_report_and_into_the_ledger(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = seal("--threshold", "sick=0.4", "--margin", "0.05")
    assert "160 test cases" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(submit(1.0, f"seal_key={key}", f"output={out}", "language=both")) == 0
    told = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {"metrics.json", "predictions.parquet", "report.html", "report.zh.html"}
    metrics, shown = metrics_in(out), pl.read_parquet(out / "predictions.parquet")
    exact = auroc_of(shown.join(truth.select("case_id", "target.sick"), on="case_id"))
    assert metrics["labels"]["sick"]["auroc"]["value"] == round(exact, 4) and f"auroc:sick {exact:.4f}" in told.err
    assert (metrics["seal"]["attempt"], metrics["seal"]["budget"], metrics["seal"]["released"]) == (1, 3, True)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "declared with the seal for sick" in page and re.search(r"Attempt\W.*?1 of 3", re.sub("<[^>]+>|\\s+", " ", page))
    code, said = audit(hospital, key, capsys, "--result", str(out / "metrics.json"))
    assert code == 0 and "1 of 3 attempts spent, 0 evaluations begun and not finished" in said
    assert f"{exact:.4g}" in said and "onnx" in said and metrics["candidate"]["hash"][:16] in said
    assert not (tmp_path / "cohorts/looks").exists()


def test_without_the_key_nothing_is_evaluated_and_nothing_is_written(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = seal()
    line = line_of(capsys, submit(1.0, f"output={tmp_path / 'out'}"))
    assert "are sealed; give the evaluator's key with seal_key=FILE" in line and not (tmp_path / "out").exists()
    other = tmp_path / "other.key"
    other.write_bytes(key.read_bytes()[::-1])
    other.chmod(0o600)
    assert line_of(capsys, submit(1.0, f"seal_key={other}", f"output={tmp_path / 'out'}")) and not (tmp_path / "out").exists()
    assert "0 of 3 attempts spent" in audit(hospital, key, capsys)[1]
    assert command(submit(1.0, "split=validation", f"output={tmp_path / 'validation'}")) == 0  # development stays open
    assert command(submit(1.0, "dry_run=true", f"output={tmp_path / 'dry'}")) == 0  # reads no label


def test_a_threshold_that_could_be_tuned_on_the_sealed_cases_is_refused(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = scores_of(hospital, "validation")
    points = choose_points(validation, infer_labels(validation), "youden", split="validation")
    write_points(tmp_path / "points.json", points)
    key = seal("--threshold", "sick=0.5")
    for tuned in ("thresholds.sick=0.41", f"operating_point={tmp_path / 'points.json'}"):
        line = line_of(capsys, submit(1.0, f"seal_key={key}", tuned))
        assert "cannot be given for a sealed test set; declared or frozen is 0.5" in line
    assert "0 of 3 attempts spent, 0 evaluations begun" in audit(hospital, key, capsys)[1]
    assert command(submit(1.0, f"seal_key={key}", "thresholds.sick=0.5", f"output={tmp_path / 'out'}")) == 0
    assert metrics_in(tmp_path / "out")["labels"]["sick"]["threshold"] == 0.5


def test_where_none_is_declared_the_models_own_threshold_counts(seal: Sealed, submit: Submit, tmp_path: Path) -> None:
    key = seal()
    assert command(submit(1.0, f"seal_key={key}", f"output={tmp_path / 'out'}")) == 0
    assert metrics_in(tmp_path / "out")["labels"]["sick"]["threshold"] == 0.4
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert "the vendor's manual, 2024, section 4" in page


def test_over_budget_is_refused_and_a_rerun_stays_free(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, folder = seal(attempts=2), tmp_path / "out"
    first = submit(1.0, f"seal_key={key}", f"output={folder}")
    assert command(first) == 0
    released = metrics_in(folder)
    assert command(submit(0.5, f"seal_key={key}", f"output={tmp_path / 'second'}")) == 0
    assert metrics_in(tmp_path / "second")["seal"]["attempt"] == 2
    line = line_of(capsys, submit(0.25, f"seal_key={key}", f"output={tmp_path / 'third'}"))
    assert "all 2 attempts on" in line and not (tmp_path / "third").exists()
    assert command(first) == 0
    again = metrics_in(folder)
    assert again["seal"].pop("repeat") and not released["seal"].pop("repeat") and again == released
    line = line_of(capsys, [*first, "seed=1"])  # another draw of the bootstrap is another look
    assert "all 2 attempts on" in line
    code, said = audit(hospital, key, capsys)
    assert code == 0 and "2 of 2 attempts spent" in said


def test_a_model_that_refuses_a_sealed_case_is_refused_as_a_whole(
    write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, seal: Sealed, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    key, accepts = seal(), {"input": {"accepts": {"low": 0, "high": 254}}}
    given = [f"candidate={write_model()}", f"contract={write_contract(**SCALE, **accepts)}", f"cohorts={hospital.path}", f"seal_key={key}"]
    line = line_of(capsys, ["evaluate", *given, f"output={tmp_path / 'out'}", *QUICK])
    assert "sealed cases are not predicted, and 0 may be left out" in line and not (tmp_path / "out").exists()
    assert "0 of 3 attempts spent, 1 evaluations begun and not finished" in audit(hospital, key, capsys)[1]


def test_a_comparison_on_a_sealed_set_releases_the_declared_conclusion_and_nothing_else(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, table, out = seal("--margin", "0.05"), tmp_path / "reader.csv", tmp_path / "out"
    truth.drop("target.sick").write_csv(table)
    assert command(submit(1.0, f"seal_key={key}", f"reference={table}", f"output={out}", "language=both")) == 0
    said, metrics = capsys.readouterr().err, metrics_in(out)
    told = metrics["seal"]["comparison"]
    shown = pl.read_parquet(out / "predictions.parquet").join(truth.select("case_id", "target.sick"), on="case_id")
    assert told["value"] == round(auroc_of(shown) - auroc_of(truth), 3) and told["low"] < told["value"] < told["high"]
    assert metrics["labels"] == {} and "comparison" not in metrics and "attempt 1 of 3: compared with the reference" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"Compared with the reference {told['reference'][:16]} in auroc:sick, margin 0.05: {told['verdict']}" in page
    assert "The reference came as a table: whether its model has seen some of these images is not known" in page
    assert "Only the best value released so far" not in page and "not known." not in page.split("<body")[1].split("</h2>")[0]
    assert f"与参照模型{told['reference'][:16]}比较" in (out / "report.zh.html").read_text(encoding="utf-8")
    code, ledger = audit(hospital, key, capsys, "--result", str(out / "metrics.json"))
    assert code == 0 and f"{told['verdict']} against {told['reference'][:16]}" in ledger and "1 of 3 attempts spent" in ledger
    submit(0.5)  # writes vendor-0.5.onnx and its contract
    assert command(submit(1.0, f"seal_key={key}", f"reference={tmp_path / 'vendor-0.5.onnx'}", f"output={tmp_path / 'model'}")) == 0
    assert metrics_in(tmp_path / "model")["seal"]["comparison"]["value"] == 0  # the same order of the cases


def test_on_the_ladder_a_comparison_tells_one_word(
    truth: pl.DataFrame, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, table, out = seal("--margin", "0.05", "--ladder", "0.05"), tmp_path / "reader.csv", tmp_path / "out"
    truth.drop("target.sick").write_csv(table)
    assert command(submit(1.0, f"seal_key={key}", f"reference={table}", f"output={out}", "language=both")) == 0
    told = metrics_in(out)["seal"]["comparison"]
    assert set(told) == {"reference", "metric", "margin", "verdict"}
    sentence = f"{told['verdict']} is the strongest conclusion of any candidate so far."
    assert sentence in (out / "report.html").read_text(encoding="utf-8") and sentence in capsys.readouterr().err
    assert "迄今所有候选模型的最强结论为" in (out / "report.zh.html").read_text(encoding="utf-8")
    truth.drop("target.sick").head(100).write_csv(table)
    assert "160 sealed cases are not predicted" not in (line := line_of(capsys, submit(1.0, f"seal_key={key}", f"reference={table}")))
    assert "the Ladder compares with one reference" in line


def test_what_cannot_be_compared_on_a_sealed_set_is_one_line_and_no_attempt(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = seal("--margin", "0.05")
    few, strange, whole = (tmp_path / f"{name}.csv" for name in ("few", "strange", "whole"))
    scores = truth.drop("target.sick")
    scores.head(159).write_csv(few)
    scores.with_columns(pl.lit(2.0).alias("probability.sick")).write_csv(strange)
    scores.write_csv(whole)
    for words, message in (
        ((f"reference={whole}", "margin=0.04"), "margin=0.04 is not the margin that was declared with the seal, 0.05; leave it out"),
        ((f"reference={few}",), "few.csv: 1 of the 160 sealed cases are not predicted"),
        ((f"reference={strange}",), "strange.csv: "),
        (("reference=nowhere.csv",), "reference=nowhere.csv does not exist"),
        (("reference=nowhere",), "does not exist"),
    ):
        assert message in line_of(capsys, submit(1.0, f"seal_key={key}", *words, f"output={tmp_path / 'out'}"))
    assert "0 of 3 attempts spent" in audit(hospital, key, capsys)[1] and not (tmp_path / "out").exists()


def test_without_a_declared_margin_a_reference_is_refused(seal: Sealed, submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(capsys, submit(1.0, f"seal_key={seal()}", "reference=old.csv"))
    assert "no margin was declared when the test set was sealed, so no model can be compared; leave reference= out" in line


def test_what_fails_with_the_labels_open_says_nothing_of_them_and_is_noted(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = seal(attempts=1)

    def failing(settings: Any, table: pl.DataFrame, *_: Any) -> None:
        raise MedaiError(f"the first case is {table['target.sick'][0]}")

    with monkeypatch.context() as patched:
        patched.setattr("medai.inference.sealed.figures", failing)
        line = line_of(capsys, submit(1.0, f"seal_key={key}", f"output={tmp_path / 'out'}"))
        assert "failed with the labels open, which is noted and is no attempt" in line and "first case" not in line
        assert "0 of 1 attempts spent, 1 evaluations begun and not finished, 1 of them failed" in audit(hospital, key, capsys)[1]
        for _ in range(10):
            line_of(capsys, submit(1.0, f"seal_key={key}", f"output={tmp_path / 'out'}"))
    assert "11 evaluations on" in line_of(capsys, submit(1.0, f"seal_key={key}", f"output={tmp_path / 'out'}"))


def test_a_table_of_scores_is_evaluated_on_a_sealed_cohort(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, path = seal(), tmp_path / "scores.csv"
    truth.drop("target.sick").write_csv(path)
    given = ["evaluate", f"predictions={path}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}", *QUICK]
    assert "are sealed; give the evaluator's key with seal_key=FILE" in line_of(capsys, given)
    assert command([*given, f"seal_key={key}"]) == 0
    metrics = metrics_in(tmp_path / "out")
    assert metrics["labels"]["sick"]["auroc"]["value"] == round(auroc_of(truth), 4) and metrics["candidate"]["kind"] == "table"
    assert "table" in audit(hospital, key, capsys, "--result", str(tmp_path / "out/metrics.json"))[1]


def test_a_table_cannot_bring_a_truth_of_its_own_or_chosen_cases_to_a_sealed_cohort(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, path = seal(), tmp_path / "scores.csv"
    given = ["evaluate", f"predictions={path}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}", f"seal_key={key}", *QUICK]
    truth.head(159).write_csv(path)
    assert "1 of the 160 sealed cases are not predicted" in line_of(capsys, given)
    false = (truth["probability.sick"] > 0.5).cast(pl.Int8)
    truth.with_columns(false.alias("target.sick"), pl.lit("x").alias("site")).write_csv(path)
    assert command(given) == 0
    metrics = metrics_in(tmp_path / "out")
    assert metrics["labels"]["sick"]["auroc"]["value"] == round(auroc_of(truth), 4) < 1 and "site" not in metrics["groups"]


@pytest.mark.parametrize("terms", [(), ("--ladder", "0.05")])
def test_no_byte_of_what_is_written_or_printed_holds_the_truth(
    hospital: Cohort, truth: pl.DataFrame, seal: Sealed, submit: Submit, tmp_path: Path, terms: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    key, out, store = seal(*terms), tmp_path / "out", tmp_path / "mlflow.db"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert command(submit(1.0, f"seal_key={key}", f"output={out}", f"tracking.uri=sqlite:///{store}", "language=both", "group_by=[]")) == 0
    told = capfd.readouterr()
    assert not store.exists()  # nothing of a sealed test set is recorded in MLflow
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    written |= {path: path.read_bytes() for path in hospital.path.rglob("*") if path.is_file() and path.suffix != ".shard"}
    written |= {Path("stdout"): told.out.encode(), Path("stderr"): told.err.encode()}
    assert {out / "metrics.json", out / "report.html", out / "predictions.parquet"} <= set(written)
    answers, shown = truth["target.sick"].to_numpy(), pl.read_parquet(out / "predictions.parquet")
    sequences = _sequences(answers) | _sequences(answers[np.argsort(shown["probability.sick"].to_numpy())])
    for path, content in written.items():
        assert not [needle for needle in sequences if needle in content], path
        if path.suffix in (".json", ".html", ".jsonl") or not path.suffix:
            assert not [case for case in truth["case_id"] if case.encode() in content], path
    assert not [name for name in shown.columns if name.startswith("target")] and set(shown["case_id"]) == set(truth["case_id"])
    assert not [name for name in shown.columns if _tells(shown[name], answers)]
    metrics = metrics_in(out)
    assert not _decimals(metrics) and not any("curve" in text or "confusion" in text for text in _keys(metrics.get("labels", {})) if terms)
    if terms:
        assert metrics["labels"] == {} and metrics["seal"]["best"] is not None and metrics["seal"]["best"] * 20 % 1 < 1e-9


def _sequences(answers: np.ndarray) -> set[bytes]:
    """Twelve answers in a row, as a program might write them: bytes, wider integers, floats, text."""
    found: set[bytes] = set()
    for start in range(0, len(answers) - 24, 24):
        part = answers[start : start + 24]
        found |= {part.astype(kind).tobytes() for kind in (np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64)}
        found |= {joint.join(str(each) for each in part).encode() for joint in ("", ",", ", ", "\n", " ")}
        found |= {joint.join("yes" if each else "no" for each in part).encode() for joint in (",", ", ", "\n")}
    return found


def _tells(column: pl.Series, answers: np.ndarray) -> bool:
    """Whether a column other than the scores is the truth under another name."""
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean) or column.name.startswith(("probability.", "logit.")):
        return False
    values = column.cast(pl.Float64).fill_null(-1).to_numpy()
    return bool(np.array_equal(values, answers) or np.array_equal(values, 1 - answers))


def _decimals(value: Any) -> list[float]:
    """Figures of more than four decimals that depend on the labels."""
    if isinstance(value, dict):
        return [found for key, part in value.items() if key != "threshold" for found in _decimals(part)]
    if isinstance(value, list):
        return [found for part in value for found in _decimals(part)]
    return [value] if isinstance(value, float) and round(value, 4) != value else []


def _keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return {key for part in value for key in _keys(part)}
    return {key for name, part in value.items() for key in {name} | _keys(part)} if isinstance(value, dict) else set()


def test_a_forged_result_and_an_edited_ledger_are_told_with_exit_code_2(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, out = seal(), tmp_path / "out"
    assert command(submit(1.0, f"seal_key={key}", f"output={out}")) == 0
    forged = metrics_in(out)
    forged["labels"]["sick"]["auroc"]["value"] = 0.99
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    code, said = audit(hospital, key, capsys, "--result", str(tmp_path / "forged.json"))
    assert code == 2 and "WRONG" in said and "differs from what was released in labels" in said
    ledger = hospital.path / "seal/ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:-1]))
    code, said = audit(hospital, key, capsys)
    assert code == 2 and "WRONG  ledger" in said
    assert line_of(capsys, submit(0.5, f"seal_key={key}", f"output={tmp_path / 'second'}"))
    assert not (tmp_path / "second").exists()


def test_a_lost_register_is_adopted_by_name(
    hospital: Cohort, seal: Sealed, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = seal()
    assert command(submit(1.0, f"seal_key={key}", f"output={tmp_path / 'out'}")) == 0
    shutil.rmtree(f"{key}.register")
    assert audit(hospital, key, capsys)[0] == 2
    assert line_of(capsys, submit(0.5, f"seal_key={key}"))
    audit(hospital, key, capsys, "--adopt")
    assert command(submit(0.5, f"seal_key={key}", f"output={tmp_path / 'second'}")) == 0
    assert metrics_in(tmp_path / "second")["seal"]["attempt"] == 2
