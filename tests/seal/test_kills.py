"""SIGKILL at every call that touches the disk: sealing and submitting lose nothing, leak nothing and count right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.seal.audit import audit_ledger
from medai.seal.seal import seal_cohort
from medai.seal.session import SealedSession

from .conftest import make_cohort

DRIVER = Path(__file__).with_name("kill_driver.py")


def _driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_driver", DRIVER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def template(tmp_path: Path) -> Path:
    make_cohort(tmp_path / "template/data")
    return tmp_path / "template"


def killed(operation: str, template: Path, output: Path) -> list[Path]:
    output.mkdir()
    path = os.pathsep.join([str(DRIVER.parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(DRIVER), operation, str(template), str(output)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    folders = sorted(output.iterdir())
    assert len(folders) > 10
    return folders


def test_a_sealing_killed_anywhere_never_loses_the_labels_and_is_finished_by_the_same_call(template: Path, tmp_path: Path) -> None:
    driver = _driver()
    truth = driver.cohort_in(template).select("test")
    for folder in killed("seal", template, tmp_path / "out")[:-1]:
        cohort, key = driver.cohort_in(folder), folder / "office/evaluator.key"
        plain = (cohort.path / "labels/test.parquet").exists()
        assert plain or cohort.sealed
        if plain:
            seal_cohort(cohort, key, driver.TERMS)
        else:
            with pytest.raises(MedaiError, match="is sealed already"):
                seal_cohort(cohort, key, driver.TERMS)
        again = Cohort.open(cohort.path)
        again.check()
        assert audit_ledger(again, key).findings == [] and not (again.path / "labels/test.parquet").exists()
        with SealedSession(again, key) as session:
            session.begin("b" * 64, "table", {})
            assert session.with_labels(session.cases()).equals(truth)
        assert not list(again.path.rglob("*.parquet.*.part")) or _holds_no_truth(again)


def _holds_no_truth(cohort: Cohort) -> bool:
    """What a kill leaves of a temporary file is encrypted."""
    return all(path.read_bytes()[:4] != b"PAR1" for path in cohort.path.rglob(".*.part"))


def test_a_submission_killed_anywhere_counts_at_most_once_and_shows_nothing_uncounted(template: Path, tmp_path: Path) -> None:
    driver = _driver()
    driver.seal(template)
    counted = []
    for folder in killed("submit", template, tmp_path / "out"):
        cohort, key = driver.cohort_in(folder), folder / "office/evaluator.key"
        told = [path for path in folder.rglob("*") if path.is_file() and b'"best":0.84' in path.read_bytes().replace(b'\\"', b'"')]
        audit = audit_ledger(cohort, key)
        assert audit.findings == [] and len(audit.attempts) <= 1
        assert audit.attempts or not (told or (folder / "shown.txt").exists())
        counted.append(len(audit.attempts))
        driver.submit(folder)
        audit = audit_ledger(cohort, key)
        assert audit.findings == [] and len(audit.attempts) == 1
        assert (folder / "shown.txt").read_text() == "0.84"
    assert counted == sorted(counted) and {0, 1} == set(counted)
    assert pl.Series(counted).sum() >= 3  # several phases lie behind the moment at which it counts
