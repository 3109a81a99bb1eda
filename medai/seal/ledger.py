"""The ledger: a line of JSON for everything that was done with a sealed test set, chained by hashes and authenticated with the key.

An entry is committed by the register (see `register`), then appended here. A crash in between is made good by whoever comes next.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.seal.crypto import SealKey
from medai.seal.register import Head, Register

START = "0" * 64  # what the first line follows


class Ledger:
    """The ledger of one seal.

    Args:
        path: The file.
        key: The evaluator's.
        seal: Identity of the seal.
        register: Holds the ledger's length and end.
    """

    def __init__(self, path: Path, key: SealKey, seal: str, register: Register) -> None:
        self.path, self._key, self._seal, self._register = path, key, seal, register

    def entries(self) -> list[dict[str, Any]]:
        """Every entry; what a crash left undone is finished first.

        Raises:
            MedaiError: the ledger was edited, cut, extended or restored from an older copy; the first fault is named.
        """
        self.recover()
        faults = self.faults()
        if faults:
            raise MedaiError(f"the ledger {self.path} cannot be trusted: {faults[0]}; see: medai audit-ledger")
        return [json.loads(line) for line in self._lines()]

    def append(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Commit an entry, durably, then append its line. The lock of the register must be held."""
        head = self._register.read()
        count, previous = (head.count, head.head) if head else (0, START)
        entry = {"number": count, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kind": kind, **body, "previous": previous}
        line = canonical_json(entry | {"mac": self._mac(entry)})
        committed = Head(self._seal, count + 1, previous, hash_text(line), line, settled=False)
        self._register.write(committed)
        self._write(line, self._size())
        self._register.settle(committed)
        return entry

    def recover(self) -> None:
        """Finish the line that a crash left out or cut short. A ledger that is otherwise not as it should be is left alone."""
        head = self._register.read()
        if head is None or head.settled or head.seal != self._seal:
            return
        data, wanted = self._bytes(), f"{head.line}\n".encode()
        if data.endswith(wanted):
            self._register.settle(head)
            return
        whole = data[: data.rfind(b"\n") + 1]
        rest = data[len(whole) :]
        before = whole.decode("utf-8", errors="replace").split("\n")[:-1]
        follows = len(before) == head.count - 1 and (hash_text(before[-1]) if before else START) == head.previous
        if follows and wanted.startswith(rest):
            self._write(head.line, len(whole))
            self._register.settle(head)

    def faults(self) -> list[str]:
        """Everything that is wrong, in the order of the lines; empty for a sound ledger."""
        lines, head = self._lines(), self._register.read()
        found = [fault for place, line in enumerate(lines) if (fault := self._fault(lines, place, line))]
        if head is None:
            return [*found, "the register beside the key does not know this test set: restore the register, it shows what is missing here"]
        if head.seal != self._seal:
            return [*found, "the register beside the key is of another seal of this test set: the cohort was restored from another copy"]
        if len(lines) < head.count:
            missing = f"it has {len(lines)} lines and the register beside the key counts {head.count}"
            return [*found, f"{missing}: lines were cut off, or the cohort was restored from an older copy"]
        if len(lines) > head.count:
            more = f"it has {len(lines)} lines and the register beside the key counts {head.count}"
            return [*found, f"{more}: lines were added, or the register was restored from an older copy"]
        if lines and hash_text(lines[-1]) != head.head and not found:
            found.append(f"line {len(lines)} is not the one that the register beside the key holds: the ledger was replaced")
        return found

    def _fault(self, lines: Sequence[str], place: int, line: str) -> str:
        name = f"line {place + 1}"
        try:
            entry = json.loads(line)
            mac = entry.pop("mac")
            number, previous = entry["number"], entry["previous"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{name} is no entry: it was edited or cut"
        if mac != self._mac(entry) or canonical_json(entry | {"mac": mac}) != line:
            return f"{name} was edited, or was not written with this key"
        if number != place or previous != (hash_text(lines[place - 1]) if place else START):
            return f"{name} is entry {number} and does not follow the line before it: lines were removed, added or moved"
        return ""

    def _mac(self, entry: Mapping[str, Any]) -> str:
        return self._key.mac("ledger", self._seal, canonical_json(entry))

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _size(self) -> int:
        return len(self._bytes())

    def _lines(self) -> list[str]:
        text = self._bytes().decode("utf-8", errors="replace")
        return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []

    def _write(self, line: str, at: int) -> None:
        """Write a line at a place, in place of what lies behind it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise MedaiError(f"the ledger {self.path} is a link, and another file would be written; put the ledger itself there")
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            os.ftruncate(descriptor, at)
            os.lseek(descriptor, at, os.SEEK_SET)
            data = f"{line}\n".encode()
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
