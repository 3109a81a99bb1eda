import json
import os
import shutil
from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.seal.audit import adopt_ledger, audit_ledger

from .conftest import Facility, Make


@pytest.fixture
def used(make: Make) -> Facility:
    """Two attempts: five lines (sealed, begun, attempt, begun, attempt)."""
    facility = make()
    facility.submit("a" * 64)
    facility.submit("b" * 64, facility.scores(1))
    assert len(lines(facility)) == 5
    return facility


def lines(facility: Facility) -> list[str]:
    return facility.ledger.read_text().splitlines()


def put(facility: Facility, new: list[str]) -> None:
    facility.ledger.write_text("".join(f"{line}\n" for line in new))


def found(facility: Facility) -> list[str]:
    return [finding for finding in audit_ledger(facility.cohort, facility.key).findings if finding.startswith("ledger")]


def test_a_sound_ledger_has_no_findings(used: Facility) -> None:
    assert audit_ledger(used.cohort, used.key).findings == []


@pytest.mark.parametrize("place", range(5))
def test_every_edit_of_a_line_is_found(used: Facility, place: int) -> None:
    sound = lines(used)
    for name in json.loads(sound[place]):
        entry = json.loads(sound[place])
        entry[name] = "0" if isinstance(entry[name], str) else 7
        new = sound.copy()
        new[place] = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        put(used, new)
        assert any(f"line {place + 1} " in finding for finding in found(used)), name
    new = sound.copy()
    new[place] = new[place].replace(":", ": ", 1)  # the same meaning in other bytes
    put(used, new)
    assert found(used)
    with pytest.raises(MedaiError, match="cannot be trusted"):
        used.submit("c" * 64)


@pytest.mark.parametrize("place", range(5))
def test_every_removed_line_is_found(used: Facility, place: int) -> None:
    put(used, [line for at, line in enumerate(lines(used)) if at != place])
    assert found(used)
    with pytest.raises(MedaiError, match="cannot be trusted"):
        used.submit("c" * 64)


@pytest.mark.parametrize("kept", range(5))
def test_every_truncation_is_found(used: Facility, kept: int) -> None:
    put(used, lines(used)[:kept])
    assert any("lines were cut off, or the cohort was restored from an older copy" in finding for finding in found(used))


def test_a_truncation_inside_the_last_line_is_found(used: Facility) -> None:
    for cut in (1, 2, 50):
        data = used.ledger.read_bytes()
        os.truncate(used.ledger, len(data) - cut)
        assert found(used) or (cut == 1 and lines(used))  # without the last line break all entries are still there
        used.ledger.write_bytes(data)


def test_moved_doubled_and_foreign_lines_are_found(used: Facility) -> None:
    sound = lines(used)
    for new in (
        [sound[0], sound[2], sound[1], *sound[3:]],
        [*sound, sound[-1]],
        [*sound[:2], sound[1], *sound[2:]],
        [*sound, "{}"],
        [*sound, "no JSON"],
        [],
    ):
        put(used, new)
        assert found(used)


def test_a_removed_ledger_is_found(used: Facility) -> None:
    used.ledger.unlink()
    assert found(used)
    with pytest.raises(MedaiError, match="cannot be trusted"):
        used.submit("c" * 64)


def test_a_cohort_restored_from_before_an_attempt_is_found(make: Make, tmp_path: Path) -> None:
    facility = make()
    facility.submit("a" * 64)
    shutil.copytree(facility.cohort.path, tmp_path / "before")
    facility.submit("b" * 64, facility.scores(1))
    shutil.rmtree(facility.cohort.path)
    shutil.copytree(tmp_path / "before", facility.cohort.path)
    assert any("restored from an older copy" in finding for finding in found(facility))
    with pytest.raises(MedaiError, match="restored from an older copy"):
        facility.submit("c" * 64, facility.scores(2))


def test_an_edited_register_and_one_of_another_cohort_are_found(used: Facility) -> None:
    path = next(used.key.with_name("evaluator.key.register").glob("*.json"))
    sound = path.read_text()
    record = json.loads(sound)
    for change in ({"count": 3}, {"settled": False}, {"mac": "0" * 64}):
        path.write_text(json.dumps(record | change))
        with pytest.raises(MedaiError, match="register .* was changed"):
            used.submit("c" * 64)
    path.write_text(sound[:50])
    with pytest.raises(MedaiError, match="register .* is damaged"):
        used.submit("c" * 64)


def test_a_lost_register_stops_evaluations_until_the_ledger_is_adopted_and_the_ledger_tells_it(used: Facility) -> None:
    with pytest.raises(MedaiError, match="so there is nothing to adopt"):
        adopt_ledger(used.cohort, used.key)
    shutil.rmtree(used.key.with_name("evaluator.key.register"))
    with pytest.raises(MedaiError, match="the register beside the key does not know this test set"):
        used.submit("c" * 64)
    adopt_ledger(used.cohort, used.key)
    assert found(used) == ["ledger: it was adopted 1 times without its register: attempts may be missing"]
    used.submit("c" * 64, used.scores(2))
    with pytest.raises(MedaiError, match="all 3 attempts"):
        used.submit("d" * 64)


def test_an_edited_ledger_is_not_adopted(used: Facility) -> None:
    put(used, [line for at, line in enumerate(lines(used)) if at != 2])
    shutil.rmtree(used.key.with_name("evaluator.key.register"))
    with pytest.raises(MedaiError, match="cannot be adopted: line 3 is entry 3"):
        adopt_ledger(used.cohort, used.key)


def test_what_an_attempt_released_cannot_be_changed_or_exchanged(used: Facility) -> None:
    folder = used.cohort.path / "seal/released"
    first, second = sorted(folder.iterdir())
    sound = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert audit_ledger(used.cohort, used.key).findings == ["what attempt 1 released is missing or was changed"]
    with pytest.raises(MedaiError, match="is missing or was changed"):
        used.submit("a" * 64)
    first.unlink()
    assert audit_ledger(used.cohort, used.key).findings == ["what attempt 1 released is missing or was changed"]
    first.write_bytes(sound)
    used.submit("a" * 64)
