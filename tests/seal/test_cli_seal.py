import re
from pathlib import Path

import pytest

from medai.cli_seal import audit_ledger, seal
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError

from .conftest import make_cohort


def test_a_cohort_is_sealed_and_audited_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = make_cohort(tmp_path)
    key = str(tmp_path / "evaluator.key")
    given = [str(cohort.path), "--key", key, "--metric", "auroc:sick", "--margin", "0.02", "--threshold", "sick=0.4", "--attempts", "5"]
    assert seal(given) == 0
    assert "160 test cases" in (told := capsys.readouterr().out) and "auroc:sick, 5 attempts" in told and "audit-ledger" in told
    assert "no ladder    5 adaptive attempts can lift a useless model's AUROC by 0.1 or more" in told
    assert audit_ledger([str(cohort.path), "--key", key]) == 0
    told = capsys.readouterr().out
    assert "0 of 5 attempts spent" in told and "all 1 lines of the ledger hold" in told
    note = re.findall(r"^note +(1:[0-9a-f]{16}):", told, re.MULTILINE)[0]
    assert audit_ledger([str(cohort.path), "--key", key, "--noted", note]) == 0
    assert audit_ledger([str(cohort.path), "--key", key, "--noted", f"1:{'0' * 16}"]) == 2
    assert "WRONG  ledger: line 1 is not the one that was noted" in capsys.readouterr().out
    with pytest.raises(MedaiError, match="--noted is 'x'; expected the note of an earlier medai audit-ledger"):
        audit_ledger([str(cohort.path), "--key", key, "--noted", "x"])
    (cohort.path / "seal/ledger.jsonl").write_text("")
    assert audit_ledger([str(cohort.path), "--key", key]) == 2
    assert "WRONG  ledger: it has 0 lines" in capsys.readouterr().out
    assert Cohort.open(cohort.path).sealed


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--threshold", "sick"], "--threshold is 'sick'; expected LABEL=VALUE"),
        (["--threshold", "sick=high"], "--threshold is 'sick=high'; expected LABEL=VALUE"),
        (["--threshold", "sick=1.4"], "a probability lies in"),
        (["--ladder", "0"], "ladder is 0"),
        (["--metric", "auroc"], "expected metric:label"),
        (["--attempts", "x"], "seal: argument --attempts: invalid int value"),
    ],
)
def test_wrong_terms_are_one_line(tmp_path: Path, extra: list[str], message: str) -> None:
    cohort = make_cohort(tmp_path)
    given = [str(cohort.path), "--key", str(tmp_path / "k"), "--metric", "auroc:sick", "--attempts", "5", *extra]
    with pytest.raises(MedaiError, match=message):
        seal(given)
    assert not cohort.sealed


def test_with_the_ladder_nothing_is_said_of_adaptive_attempts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = make_cohort(tmp_path)
    given = [str(cohort.path), "--key", str(tmp_path / "k"), "--metric", "auroc:sick", "--attempts", "5", "--ladder", "0.05"]
    assert seal(given) == 0 and "adaptive" not in capsys.readouterr().out
