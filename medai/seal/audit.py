"""Hold a sealed cohort and its ledger against the key and the register beside it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.cohort.cohort import Cohort
from medai.cohort.schema import SEALED_LABELS, TEST_LABELS
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text, read_json
from medai.seal.crypto import SealKey, read_key
from medai.seal.register import Head, Register
from medai.seal.seal import (
    ADOPTED,
    ATTEMPT,
    BEGUN,
    FAILED,
    SEALED,
    Seal,
    ledger_of,
    open_labels,
    part_faults,
    read_released,
    read_seal,
    rolled_back,
)

NOTE = r"\d{1,9}:[0-9a-f]{16}"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        seal: The seal.
        entries: Of the ledger, as far as they can be read.
        findings: Everything that is wrong; empty where all holds.
        note: Length and end of the ledger, to be kept elsewhere and held against a later audit.
    """

    seal: Seal
    entries: list[dict[str, Any]]
    findings: list[str]
    note: str

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The attempts that count."""
        return [entry for entry in self.entries if entry.get("kind") == ATTEMPT]

    @property
    def unfinished(self) -> int:
        """Evaluations that were begun and neither counted nor repeated: crashes, refusals, or somebody who tries something."""
        kinds = [entry.get("kind") for entry in self.entries]
        return sum(kind == BEGUN and kinds[place + 1 : place + 2] not in ([ATTEMPT], ["repeat"]) for place, kind in enumerate(kinds))

    @property
    def failed(self) -> int:
        """Evaluations that failed with the labels open."""
        return sum(entry.get("kind") == FAILED for entry in self.entries)


def audit_ledger(cohort: Cohort, key_file: Path, *, result: Path | None = None, noted: str | None = None) -> Audit:
    """Check the ledger line by line, its length against the register, the sealed labels, every other part, and what was released.

    Args:
        cohort: A sealed one.
        key_file: The evaluator's key.
        result: A `metrics.json` that claims to come from this test set, to be held against the ledger.
        noted: The `note` of an earlier audit, kept elsewhere: an older ledger and register that were put back do not have it.

    Raises:
        MedaiError: the note is none, wrong key, no seal, a changed seal, or another evaluator at work.
    """
    if noted is not None and not re.fullmatch(NOTE, noted):
        raise MedaiError(f"--noted is {noted!r}; expected the note of an earlier medai audit-ledger, such as 5:3fa90c11d2e4b586")
    key = read_key(key_file, outside=cohort.path)
    register = Register(key, cohort.hash)
    if not cohort.sealed and register.read() is not None:
        raise MedaiError(f"{cohort.path} was sealed with {key.path}, and its sealed labels are gone; restore them")
    seal = read_seal(cohort, key)
    ledger = ledger_of(cohort, key, seal)
    with register.locked():
        ledger.recover()
        findings = [f"ledger: {fault}" for fault in ledger.faults()]
        entries = _readable(ledger.path)
        findings += _labels(cohort, key, seal)
        findings += [f"{name} is not what was sealed" for name in part_faults(cohort, key, seal)]
        findings += _meaning(seal, entries)
        findings += _released(cohort, key, seal, entries)
        if rolled_back(cohort, len(entries)):
            findings.append("ledger: results of attempts lie behind its end: it and its register were exchanged for older ones")
        lines = _lines(ledger.path)
        if noted is not None and noted != note_of(lines[: int(noted.split(":")[0])]):
            findings.append(f"ledger: line {noted.split(':')[0]} is not the one that was noted: it and its register were exchanged")
    if result is not None:
        findings += _result(cohort, key, seal, entries, result)
    return Audit(seal, entries, findings, note_of(lines))


def adopt_ledger(cohort: Cohort, key_file: Path) -> None:
    """Trust a ledger as it is found, where the register beside the key was lost. The ledger says so from then on.

    Raises:
        MedaiError: the register is there, or the ledger is broken in itself.
    """
    key = read_key(key_file, outside=cohort.path)
    register = Register(key, cohort.hash)
    seal = read_seal(cohort, key)
    ledger = ledger_of(cohort, key, seal)
    with register.locked():
        if register.read() is not None:
            raise MedaiError("the register beside the key knows this test set, so there is nothing to adopt; see: medai audit-ledger")
        lines = _lines(ledger.path)
        faults = ledger.faults()[:-1]  # but that the register is missing
        if rolled_back(cohort, len(lines)):
            faults.append("results of attempts lie behind its end, so lines are missing; restore the newest ledger")
        if faults or not lines:
            raise MedaiError(f"the ledger cannot be adopted: {faults[0] if faults else 'it is empty'}")
        previous = json.loads(lines[-1])["previous"]
        register.write(Head(seal.identity, len(lines), previous, hash_text(lines[-1]), lines[-1], settled=True))
        ledger.append(ADOPTED, {"note": "the register beside the key was lost; lines after these may be missing"})


def note_of(lines: Sequence[str]) -> str:
    """How many lines a ledger has, and the first digits of the last one's hash."""
    return f"{len(lines)}:{hash_text(lines[-1])[:16] if lines else '0' * 16}"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _readable(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in _lines(path):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _labels(cohort: Cohort, key: SealKey, seal: Seal) -> list[str]:
    found = []
    if (cohort.path / TEST_LABELS).exists():
        found.append(f"{TEST_LABELS} lies beside {SEALED_LABELS}: finish the sealing with medai seal, or remove it")
    try:
        open_labels(cohort, key, seal)
    except MedaiError:
        found.append(f"{SEALED_LABELS} is not the file that was sealed")
    return found


def _meaning(seal: Seal, entries: list[dict[str, Any]]) -> list[str]:
    found = []
    if not entries or entries[0].get("kind") != SEALED or entries[0].get("seal") != seal.digest:
        found.append("ledger: its first line is not the sealing of this test set")
    attempts = [entry.get("attempt") for entry in entries if entry.get("kind") == ATTEMPT]
    if len(attempts) > seal.terms.attempts:
        found.append(f"ledger: {len(attempts)} attempts, and {seal.terms.attempts} were declared")
    adopted = sum(entry.get("kind") == ADOPTED for entry in entries)
    return found + ([f"ledger: it was adopted {adopted} times without its register: attempts may be missing"] if adopted else [])


def _released(cohort: Cohort, key: SealKey, seal: Seal, entries: list[dict[str, Any]]) -> list[str]:
    found = []
    for entry in entries:
        if entry.get("kind") != ATTEMPT:
            continue
        try:
            sound = hash_text(canonical_json(read_released(cohort, key, seal, entry["number"]))) == entry["metrics"]
        except (MedaiError, KeyError):
            sound = False
        if not sound:
            found.append(f"what attempt {entry.get('attempt')} released is missing or was changed")
    return found


def _result(cohort: Cohort, key: SealKey, seal: Seal, entries: list[dict[str, Any]], path: Path) -> list[str]:
    """A result is genuine where everything that was released stands in it unchanged."""
    claimed = read_json(path)
    number = claimed.get("seal", {}).get("entry") if isinstance(claimed, Mapping) else None
    if not isinstance(number, int) or number not in [entry.get("number") for entry in entries if entry.get("kind") == ATTEMPT]:
        return [f"{path} names no attempt of this ledger: it was not released from this test set"]
    try:
        released = read_released(cohort, key, seal, number)
    except MedaiError:
        return [f"{path} cannot be held against attempt {number}: what that released is missing"]
    wrong = [name for name, value in released.items() if name != "seal" and claimed.get(name) != value]
    wrong += [f"seal.{name}" for name, value in released["seal"].items() if name != "repeat" and claimed["seal"].get(name) != value]
    return [f"{path} differs from what was released in {', '.join(wrong)}"] if wrong else []
