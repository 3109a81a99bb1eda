"""Somebody who may read and write the cohort's folder, and start evaluations, but has no key."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.seal.audit import adopt_ledger, audit_ledger
from medai.seal.session import SealedSession

from .conftest import Facility, Make

ROOT = Path(__file__).resolve().parents[2]
RACER = """
import sys
import time
from pathlib import Path
import polars as pl
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from tests.seal.conftest import Facility

cohort, key, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
facility = Facility(Cohort.open(cohort), key, pl.read_parquet(sys.argv[4]))
Path(sys.argv[5]).touch()
while not Path(sys.argv[6]).exists():
    time.sleep(0.01)
while True:
    try:
        facility.submit(str(seed) * 64, facility.scores(seed))
    except MedaiError as error:
        if "is running" in str(error):
            time.sleep(0.01)
            continue
        print("refused", error)
        break
    print("counted")
    break
"""


def folder_of(facility: Facility) -> Path:
    return facility.key.with_name("evaluator.key.register")


def test_two_processes_that_race_for_the_last_attempt_get_one(make: Make, tmp_path: Path) -> None:
    facility = make(attempts=1)
    truth, go = tmp_path / "truth.parquet", tmp_path / "go"
    facility.truth.write_parquet(truth)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ready = [tmp_path / f"ready-{seed}" for seed in (1, 2)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, *map(str, (facility.cohort.path, facility.key, seed, truth, ready[seed - 1], go))],
            env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        )
        for seed in (1, 2)
    ]  # fmt: skip
    while not all(each.exists() for each in ready):
        assert all(racer.poll() is None for racer in racers)
        time.sleep(0.01)
    go.touch()
    told = sorted(racer.communicate(timeout=120)[0].split()[0] for racer in racers)
    assert told == ["counted", "refused"]
    audit = audit_ledger(facility.cohort, facility.key)
    assert len(audit.attempts) == 1 and audit.findings == []


def test_attempts_on_a_copy_of_the_folder_count_for_the_original_too(make: Make, tmp_path: Path) -> None:
    facility = make(attempts=2)
    copy = Facility(Cohort.open(shutil.copytree(facility.cohort.path, tmp_path / "copy")), facility.key, facility.truth)
    copy.submit("a" * 64)
    with pytest.raises(MedaiError, match="lines were cut off, or the cohort was restored from an older copy"):
        facility.submit("b" * 64, facility.scores(1))
    copy.submit("b" * 64, facility.scores(1))
    with pytest.raises(MedaiError, match="are spent"):
        copy.submit("c" * 64, facility.scores(2))


def test_an_older_ledger_with_its_register_is_found_by_the_results_that_it_does_not_know(make: Make, tmp_path: Path) -> None:
    facility = make(attempts=3)
    facility.submit("a" * 64)
    shutil.copytree(folder_of(facility), tmp_path / "register")
    shutil.copy(facility.ledger, tmp_path / "ledger")
    facility.submit("b" * 64, facility.scores(1))
    facility.submit("c" * 64, facility.scores(2))
    note = audit_ledger(facility.cohort, facility.key).note
    shutil.rmtree(folder_of(facility))
    shutil.copytree(tmp_path / "register", folder_of(facility))
    shutil.copy(tmp_path / "ledger", facility.ledger)
    behind = "results of attempts lie behind its end: it and its register were exchanged for older ones"
    assert audit_ledger(facility.cohort, facility.key).findings == [f"ledger: {behind}"]
    with pytest.raises(MedaiError, match="holds results of attempts after the ledger's end"):
        facility.submit("d" * 64, facility.scores(3))
    for path in sorted((facility.cohort.path / "seal/released").iterdir())[1:]:
        path.unlink()  # whoever removes these too is found by a note that was kept elsewhere
    assert audit_ledger(facility.cohort, facility.key).findings == []
    found = audit_ledger(facility.cohort, facility.key, noted=note).findings
    assert found == ["ledger: line 7 is not the one that was noted: it and its register were exchanged"]


def test_a_note_holds_after_further_attempts(make: Make) -> None:
    facility = make()
    facility.submit("a" * 64)
    note = audit_ledger(facility.cohort, facility.key).note
    facility.submit("b" * 64, facility.scores(1))
    assert note.startswith("3:") and audit_ledger(facility.cohort, facility.key, noted=note).findings == []


def test_a_cut_ledger_is_not_adopted_where_results_show_what_is_missing(make: Make) -> None:
    facility = make()
    facility.submit("a" * 64)
    facility.submit("b" * 64, facility.scores(1))
    facility.ledger.write_text("".join(f"{line}\n" for line in facility.ledger.read_text().splitlines()[:3]))
    shutil.rmtree(folder_of(facility))
    with pytest.raises(MedaiError, match="cannot be adopted: results of attempts lie behind its end, so lines are missing"):
        adopt_ledger(facility.cohort, facility.key)


def test_what_the_ladder_has_to_beat_cannot_be_exchanged_by_a_cut_ledger(make: Make) -> None:
    """After a ledger was cut and adopted, numbers come again, and an older result of the same number still decrypts."""
    facility = make(ladder=0.01, attempts=9)
    with SealedSession(facility.cohort, facility.key) as session:
        session.begin("0" * 64, "table", {})  # line 1, and never finished
    facility.submit("a" * 64, facility.scores(0, 1.0))
    kept = facility.cohort.path / "seal/released/0003.sealed"
    low = kept.read_bytes()
    facility.ledger.write_text(facility.ledger.read_text().splitlines()[0] + "\n")
    kept.unlink()
    shutil.rmtree(folder_of(facility))
    adopt_ledger(facility.cohort, facility.key)  # line 1 now
    facility.submit("b" * 64, facility.scores(0, 1.5))  # entry 3, as the removed one was
    kept.write_bytes(low)
    with pytest.raises(MedaiError, match="is not what attempt 1 of the ledger released; restore it"):
        facility.submit("c" * 64, facility.scores(0, 5.0))


def test_a_key_that_is_named_by_a_link_has_the_same_register(make: Make, tmp_path: Path) -> None:
    facility = make(attempts=1)
    link = tmp_path / "elsewhere.key"
    link.symlink_to(facility.key)
    Facility(facility.cohort, link, facility.truth).submit("a" * 64)
    with pytest.raises(MedaiError, match="are spent"):
        facility.submit("b" * 64, facility.scores(1))
    assert not list(tmp_path.glob("elsewhere.key.register"))


def test_a_ledger_that_is_a_link_is_not_written(make: Make, tmp_path: Path) -> None:
    facility = make()
    other = tmp_path / "other"
    shutil.copy(facility.ledger, other)
    facility.ledger.unlink()
    facility.ledger.symlink_to(other)
    before = other.read_bytes()
    with pytest.raises(MedaiError, match=r"is a link, and another file would be written"):
        facility.submit("a" * 64)
    assert other.read_bytes() == before


def test_where_others_may_write_beside_the_key_nothing_is_evaluated(make: Make) -> None:
    facility = make()
    for path, message in (
        (folder_of(facility), "can be written by others; run: chmod 700"),
        (facility.key.parent, "everybody may write to"),
    ):
        mode = path.stat().st_mode
        path.chmod(0o777)
        with pytest.raises(MedaiError, match=message):
            facility.submit("a" * 64)
        path.chmod(mode)
    facility.submit("a" * 64)


def test_a_disk_without_locks_is_refused_in_one_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    facility = make()

    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with (
        pytest.raises(MedaiError, match=r"cannot be locked \(No locks available\); keep the key on a disk of this machine"),
        SealedSession(facility.cohort, facility.key),
    ):
        pass
