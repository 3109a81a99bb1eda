"""Seal a cohort's test set: encrypt its labels, write down the terms and the hashes of all else, and begin the ledger.

- `COHORT/labels/test.parquet.sealed`: the labels, in place of `labels/test.parquet`
- `COHORT/seal/seal.json`: terms, keyed hashes of every part; authenticated with the key
- `COHORT/seal/ledger.jsonl`: what was done since
- `COHORT/seal/released/0003.sealed`: what the attempt of ledger entry 3 released, encrypted, so that a rerun gives it again
- `KEY.register/`: length and end of the ledger, where the key is
"""

import hmac
import io
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.schema import RECORD, SEAL, SEAL_FOLDER, SEALED_LABELS, TEST_LABELS
from medai.core.error import MedaiError
from medai.core.file import atomic_file, canonical_json, hash_file, hash_text, read_json, write_json
from medai.seal.conclusion import check_comparable
from medai.seal.crypto import SealKey, read_key
from medai.seal.ledger import Ledger
from medai.seal.register import Register
from medai.seal.terms import Terms

SCHEMA = "medai.seal/1"
LEDGER = f"{SEAL_FOLDER}/ledger.jsonl"
RELEASED = f"{SEAL_FOLDER}/released"
SEALED, BEGUN, ATTEMPT, REPEAT, FAILED, ADOPTED = "sealed", "begun", "attempt", "repeat", "failed", "adopted"


@dataclass(frozen=True)
class Seal:
    """The seal of a cohort, as `seal.json` holds it.

    Attributes:
        identity: Drawn when it was sealed.
        cohort: Content hash.
        created: When.
        cases: How many test cases are scored.
        record: Keyed hash of `cohort.json`.
        parts: Keyed hash of every part but the test labels.
        terms: What was declared.
    """

    identity: str
    cohort: str
    created: str
    cases: int
    record: str
    parts: dict[str, str]
    terms: Terms

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA, "identity": self.identity, "cohort": self.cohort, "created": self.created, "cases": self.cases,
            "record": self.record, "parts": self.parts, "terms": self.terms.to_dict(),
        }  # fmt: skip

    @property
    def digest(self) -> str:
        """Stands for all of it; the sealed labels are bound to it."""
        return hash_text(canonical_json(self.to_dict()))


def read_seal(cohort: Cohort, key: SealKey) -> Seal:
    """The seal of a cohort.

    Raises:
        MedaiError: there is none, it is another key's or another cohort's, or it was changed.
    """
    path = cohort.path / SEAL
    if not path.is_file():
        raise MedaiError(f"the cohort {cohort.path} is not sealed: it has no {SEAL}; seal it with: medai seal, or restore what was removed")
    record = read_json(path)
    try:
        mac, identity = record.pop("mac"), record.pop("key_identity")
        if record.pop("schema") != SCHEMA:
            raise ValueError
        seal = Seal(**record | {"terms": Terms.from_dict(record["terms"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MedaiError(f"{path} is not a seal of this version of medai, or is damaged; restore it") from None
    if identity != key.identity:
        raise MedaiError(f"{cohort.path} was sealed with another key than {key.path} (key {identity}); name that one")
    if not hmac.compare_digest(mac, _mac(seal, key)):
        raise MedaiError(f"{path} was changed after the sealing; restore it")
    if seal.cohort != cohort.hash:
        raise MedaiError(f"{path} is the seal of another cohort ({seal.cohort[:16]}, not {cohort.hash[:16]}); restore the right one")
    return seal


def ledger_of(cohort: Cohort, key: SealKey, seal: Seal) -> Ledger:
    """The ledger of a seal."""
    return Ledger(cohort.path / LEDGER, key, seal.identity, Register(key, cohort.hash))


def open_labels(cohort: Cohort, key: SealKey, seal: Seal) -> pl.DataFrame:
    """Decrypt the test labels, in memory.

    Raises:
        MedaiError: the file was changed, swapped or cut.
    """
    path = cohort.path / SEALED_LABELS
    try:
        data = key.decrypt("labels", seal.identity, path.read_bytes(), seal.digest)
    except (FileNotFoundError, ValueError):
        raise MedaiError(f"{path} is not the file that was sealed: it is missing, changed or another one's; restore it") from None
    return pl.read_parquet(io.BytesIO(data))


def part_faults(cohort: Cohort, key: SealKey, seal: Seal) -> list[str]:
    """The files of the cohort that are no longer what was sealed."""
    found = [] if _keyed(cohort.path / RECORD, key, seal.identity) == seal.record else [RECORD]
    return found + [name for name, mac in seal.parts.items() if _keyed(cohort.path / name, key, seal.identity) != mac]


def seal_cohort(cohort: Cohort, key_file: Path, terms: Terms) -> Seal:
    """Seal a cohort's test set. A sealing that was interrupted is finished by the same call.

    Args:
        cohort: Its hashes are checked first.
        key_file: The evaluator's key, outside the cohort; made with mode 0600 where it does not exist.
        terms: What is declared.

    Raises:
        MedaiError: the terms do not fit the cohort, it is sealed already, or was changed after the ingest.
    """
    terms.check(cohort.labels)
    check_comparable(terms)
    if cohort.path.is_symlink() or cohort.hash == "":
        raise MedaiError(f"{cohort.path} is a link; seal the folder that it points to")
    key = read_key(key_file, create=True, outside=cohort.path)
    register = Register(key, cohort.hash)
    with register.locked():
        plain, sealed = cohort.path / TEST_LABELS, cohort.path / SEALED_LABELS
        if sealed.exists() and not plain.exists():
            raise MedaiError(f"{cohort.path} is sealed already; its terms are in {SEAL} and cannot be changed")
        seal = _begun(cohort, key, register, terms)
        if seal is None:
            cohort.check()
            _check_labels(cohort, terms)
            seal = _new_seal(cohort, key, terms)
            write_json(cohort.path / SEAL, seal.to_dict() | {"key_identity": key.identity, "mac": _mac(seal, key)})
        ledger = ledger_of(cohort, key, seal)
        if register.read() is None:
            ledger.append(SEALED, {"seal": seal.digest, "cohort": seal.cohort, "terms": terms.to_dict()})
        ledger.entries()
        _encrypt(cohort, key, seal, plain, sealed)
    return seal


def _begun(cohort: Cohort, key: SealKey, register: Register, terms: Terms) -> Seal | None:
    """The seal of an interrupted sealing that is to be finished."""
    head = register.read()
    if head is None:
        return None  # a seal.json without a register binds nobody yet
    if not (cohort.path / SEAL).is_file():
        raise MedaiError(f"{cohort.path} was sealed with this key before, and its seal is gone; restore the sealed copy")
    seal = read_seal(cohort, key)
    if head.count > 1:
        raise MedaiError(
            f"{cohort.path} was sealed with this key and evaluated before, and its plain labels came back; restore the sealed copy"
        )
    if seal.terms != terms:
        raise MedaiError(f"the sealing of {cohort.path} was begun with other terms (see {SEAL}); finish it with those")
    faults = part_faults(cohort, key, seal)
    if faults:
        raise MedaiError(f"{cohort.path / faults[0]} was changed since the sealing was begun; restore it")
    return seal


def _new_seal(cohort: Cohort, key: SealKey, terms: Terms) -> Seal:
    identity = secrets.token_hex(16)
    parts = {name: _keyed(cohort.path / name, key, identity) for name in sorted(cohort.meta["parts"]) if name != TEST_LABELS}
    cases = cohort.cases().filter((pl.col("partition") == "test") & pl.col("exclusion").is_null())
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Seal(identity, cohort.hash, created, len(cases), _keyed(cohort.path / RECORD, key, identity), parts, terms)


def _encrypt(cohort: Cohort, key: SealKey, seal: Seal, plain: Path, sealed: Path) -> None:
    """Write the encrypted labels, read them back, and only then remove the plain ones."""
    data = plain.read_bytes()
    with atomic_file(sealed) as temporary:
        temporary.write_bytes(key.encrypt("labels", seal.identity, data, seal.digest))
    if key.decrypt("labels", seal.identity, sealed.read_bytes(), seal.digest) != data:
        raise MedaiError(f"{sealed} cannot be read back; the plain labels were kept, try again on a sound disk")
    plain.unlink()
    folder = os.open(plain.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _check_labels(cohort: Cohort, terms: Terms) -> None:
    """The primary metric must be defined: else the first attempt would be spent on learning that it is not."""
    cases = cohort.select("test")
    known = cases[terms.label].drop_nulls().to_numpy()
    counts = np.bincount(known, minlength=2)
    if len(cases) == 0 or (counts > 0).sum() < 2:
        raise MedaiError(
            f"the {len(cases)} test cases of {cohort.path} do not hold two classes of {terms.label!r}; choose another primary metric"
        )


def _keyed(path: Path, key: SealKey, seal: str) -> str:
    try:
        return key.mac("part", seal, hash_file(path))
    except FileNotFoundError:
        return ""


def _mac(seal: Seal, key: SealKey) -> str:
    return key.mac("seal", seal.identity, canonical_json(seal.to_dict()))


def read_released(cohort: Cohort, key: SealKey, seal: Seal, number: int) -> dict[str, Any]:
    """What an attempt released.

    Raises:
        MedaiError: the file is missing or was changed.
    """
    released: dict[str, Any] = _kept(cohort, key, seal, number)["released"]
    return released


def read_exact(cohort: Cohort, key: SealKey, seal: Seal, entry: Mapping[str, Any]) -> float | None:
    """The primary metric of an attempt before it was rounded.

    Args:
        cohort: The sealed one.
        key: The evaluator's.
        seal: Of the cohort.
        entry: The attempt's line of the ledger, to which what was kept is held.

    Raises:
        MedaiError: the file is missing or was changed, or is of a line that had this number in a ledger that was cut.
    """
    kept = _kept(cohort, key, seal, entry["number"])
    if hash_text(canonical_json(kept["released"])) != entry["metrics"]:
        path = released_path(cohort, entry["number"])
        raise MedaiError(f"{path} is not what attempt {entry['attempt']} of the ledger released; restore it")
    exact: float | None = kept["exact"]
    return exact


def _kept(cohort: Cohort, key: SealKey, seal: Seal, number: int) -> dict[str, Any]:
    path = released_path(cohort, number)
    try:
        data = key.decrypt("released", seal.identity, path.read_bytes(), str(number))
    except (FileNotFoundError, ValueError):
        raise MedaiError(f"{path} is missing or was changed; restore it, it holds what attempt {number} released") from None
    record: dict[str, Any] = json.loads(data)
    return record


def write_released(cohort: Cohort, key: SealKey, seal: Seal, number: int, released: dict[str, Any], exact: float | None = None) -> None:
    """Keep what an attempt is about to release; without the key nobody can read it, so that it may lie there before the attempt counts.

    Args:
        cohort: The sealed one.
        key: The evaluator's.
        seal: Of the cohort.
        number: Of the attempt's ledger entry.
        released: What may be shown.
        exact: The primary metric before it was rounded, which stays inside.
    """
    kept = canonical_json({"released": released, "exact": exact}).encode()
    with atomic_file(released_path(cohort, number)) as temporary:
        temporary.write_bytes(key.encrypt("released", seal.identity, kept, str(number)))


def released_path(cohort: Cohort, number: int) -> Path:
    """Where `write_released` puts it."""
    return cohort.path / RELEASED / f"{number:04d}.sealed"


def rolled_back(cohort: Cohort, lines: int) -> list[int]:
    """Attempts whose results lie there though the ledger ends before them: it was exchanged for an older one, together with its register.

    A result that was written when its process ended has the number of the next line, and no higher one.
    """
    numbers = (path.stem for path in (cohort.path / RELEASED).glob("*.sealed"))
    return sorted(int(number) for number in numbers if number.isdecimal() and int(number) > lines)
