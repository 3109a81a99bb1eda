import json
import stat
from pathlib import Path

import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.seal.seal import seal_cohort
from medai.seal.session import SealedSession
from medai.seal.terms import Terms, primary_of

from .conftest import TEST_CASES, Make, make_cohort

TERMS = Terms("auroc", "sick", 3)


def test_sealing_replaces_the_labels_and_keeps_every_hash(make: Make) -> None:
    facility = make(public=False)
    path = facility.cohort.path
    assert not (path / "labels/test.parquet").exists() and (path / "labels/test.parquet.sealed").is_file()
    assert facility.cohort.sealed
    facility.cohort.check()
    assert len(facility.cohort.select("development")) > 0


def test_sealed_labels_are_not_to_be_had_without_the_evaluator(make: Make) -> None:
    facility = make()
    with pytest.raises(MedaiError, match="are sealed; only medai evaluate with seal_key=FILE reads them"):
        facility.cohort.select("test")


def test_the_key_and_the_register_are_private_and_no_file_of_the_cohort_holds_the_key(make: Make) -> None:
    facility = make()
    secret = facility.key.read_text().strip()
    assert stat.S_IMODE(facility.key.stat().st_mode) == 0o600
    folder = facility.key.with_name("evaluator.key.register")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.glob("*.json"))
    for path in facility.cohort.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data and bytes.fromhex(secret) not in data


def test_a_key_inside_the_cohort_or_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path)
    with pytest.raises(MedaiError, match="would lie inside the cohort"):
        seal_cohort(cohort, cohort.path / "my.key", TERMS)
    key = tmp_path / "open.key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    with pytest.raises(MedaiError, match="can be read by others; run: chmod 600"):
        seal_cohort(cohort, key, TERMS)
    key.chmod(0o600)
    key.write_text("no key")
    with pytest.raises(MedaiError, match="is not an evaluator's key"):
        seal_cohort(cohort, key, TERMS)
    assert cohort.select("test").height == TEST_CASES


def test_terms_that_do_not_fit_are_one_line_and_leave_the_cohort_alone(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path)
    for terms, message in (
        (Terms("auroc", "ill", 3), "has no label 'ill'"),
        (Terms("macro_auroc", "sick", 3), "is no primary metric of the binary label"),
        (Terms("auroc", "sick", 3, thresholds={"well": 0.5}), "has no label 'well'"),
    ):
        with pytest.raises(MedaiError, match=message):
            seal_cohort(cohort, tmp_path / "k", terms)
    for values, message in (({"attempts": 0}, "give 1 or more"), ({"margin": 0.0}, "margin is 0"), ({"ladder": -1.0}, "ladder is -1")):
        with pytest.raises(MedaiError, match=message):
            Terms(**{"metric": "auroc", "label": "sick", "attempts": 3} | values)
    with pytest.raises(MedaiError, match="expected metric:label"):
        primary_of("auroc")
    assert not cohort.sealed and not (cohort.path / "seal").exists()


def test_a_test_set_of_one_class_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars as pl

    cohort = make_cohort(tmp_path)
    monkeypatch.setattr(Cohort, "select", lambda self, split: pl.DataFrame({"sick": [1, 1, None]}))
    with pytest.raises(MedaiError, match="do not hold two classes of 'sick'"):
        seal_cohort(cohort, tmp_path / "k", TERMS)


def test_a_changed_cohort_is_not_sealed(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path)
    shard = cohort.path / "pixels/00000.shard"
    shard.write_bytes(shard.read_bytes() + b"1")
    with pytest.raises(MedaiError, match="was changed after the ingest"):
        seal_cohort(cohort, tmp_path / "k", TERMS)


def test_a_second_seal_is_refused(make: Make) -> None:
    facility = make()
    with pytest.raises(MedaiError, match="is sealed already"):
        seal_cohort(facility.cohort, facility.key, TERMS)


def test_another_key_opens_nothing(make: Make, tmp_path: Path) -> None:
    facility = make()
    other = tmp_path / "other.key"
    other.write_text("ab" * 32)
    other.chmod(0o600)
    with pytest.raises(MedaiError, match="was sealed with another key"), SealedSession(facility.cohort, other):
        pass
    with pytest.raises(MedaiError, match="does not exist; name the file"), SealedSession(facility.cohort, tmp_path / "none.key"):
        pass


@pytest.mark.parametrize("change", [{"attempts": 99}, {"ladder": None}, {"thresholds": {"sick": 0.1}}])
def test_edited_terms_are_found(make: Make, change: dict[str, object]) -> None:
    facility = make(ladder=0.01)
    path = facility.cohort.path / "seal/seal.json"
    record = json.loads(path.read_text())
    record["terms"] |= change
    path.write_text(json.dumps(record))
    with pytest.raises(MedaiError, match=r"seal.json was changed after the sealing"):
        facility.submit()


@pytest.mark.parametrize("part", ["cases.parquet", "pixels/00000.shard", "labels/development.parquet", "cohort.json"])
def test_a_changed_part_is_found_before_the_labels_open(make: Make, part: str) -> None:
    facility = make()
    path = facility.cohort.path / part
    data = path.read_bytes()
    path.write_bytes(data + b" ")
    with pytest.raises(MedaiError, match="is not what was sealed"):
        facility.submit()
    assert facility.ledger.read_text().count("\n") == 1
    path.write_bytes(data)
    facility.submit()


def test_labels_that_were_swapped_cut_or_taken_from_another_seal_are_found(make: Make, tmp_path: Path) -> None:
    facility = make()
    sealed = facility.cohort.path / "labels/test.parquet.sealed"
    data = sealed.read_bytes()
    other = make_cohort(tmp_path / "other")
    seal_cohort(other, facility.key.with_name("second.key"), TERMS)
    foreign = (other.path / "labels/test.parquet.sealed").read_bytes()
    for wrong in (data[:-1], data[:40] + bytes([data[40] ^ 1]) + data[41:], b"", foreign):
        sealed.write_bytes(wrong)
        with pytest.raises(MedaiError, match="is not the file that was sealed"):
            facility.submit()


def test_a_cohort_whose_seal_was_taken_away_is_not_evaluated_as_if_it_were_open(make: Make) -> None:
    facility = make()
    (facility.cohort.path / "labels/test.parquet.sealed").unlink()
    with pytest.raises(MedaiError, match="its sealed labels are gone"):
        facility.submit()


def test_a_plain_copy_cannot_be_sealed_again_for_a_fresh_budget(make: Make, tmp_path: Path) -> None:
    facility = make()
    facility.submit()
    plain = make_cohort(tmp_path / "again")
    assert plain.hash == facility.cohort.hash
    with pytest.raises(MedaiError, match="was sealed with this key before"):
        seal_cohort(plain, facility.key, TERMS)
