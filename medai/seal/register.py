"""The register beside the key: how long the ledger of each sealed cohort is, and how it ends.

A ledger alone cannot show that its last lines are gone, or that the whole cohort was restored from an older copy. The register
is kept where the key is, away from the cohort. It is written before the ledger, and replaced at once: at that moment an attempt counts.
"""

import json
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

from medai.core.error import MedaiError
from medai.core.file import atomic_file, canonical_json
from medai.core.lock import locked
from medai.seal.crypto import SealKey

BUSY = "another evaluation of this sealed test set is running; wait for it"


@dataclass(frozen=True)
class Head:
    """The end of a ledger.

    Attributes:
        seal: Which seal it is of.
        count: Lines of the ledger.
        previous: Hash of the line before the last one.
        head: Hash of the last line.
        line: The last line itself, so that a crash between the register and the ledger loses nothing.
        settled: Whether the ledger is known to hold the last line.
    """

    seal: str
    count: int
    previous: str
    head: str
    line: str
    settled: bool


class Register:
    """The register of a key: a folder beside it, readable by its owner alone."""

    def __init__(self, key: SealKey, cohort_hash: str) -> None:
        self._key, self._cohort = key, cohort_hash
        self.folder = key.path.with_name(f"{key.path.name}.register")
        self.path = self.folder / f"{cohort_hash[:32]}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One evaluator of a cohort at a time, also of copies of it: the lock lies beside the key, and falls with its process.

        Raises:
            MedaiError: another evaluator is at work, the disk of the key has no locks, or others may write where the key is.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._check_private()
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / f".{self.path.stem}.lock", refuse=BUSY))
            except OSError as error:
                raise MedaiError(f"{self.folder} cannot be locked ({error.strerror}); keep the key on a disk of this machine") from None
            yield

    def _check_private(self) -> None:
        """Whoever may write here could bring an older register back."""
        if stat.S_IMODE(self.folder.stat().st_mode) & 0o022:
            raise MedaiError(f"the register {self.folder} can be written by others; run: chmod 700 {self.folder}")
        mode = self.folder.parent.stat().st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            raise MedaiError(f"everybody may write to {self.folder.parent}, where the key lies; run: chmod o-w {self.folder.parent}")

    def read(self) -> Head | None:
        """The end of the ledger, None where the register does not know the cohort.

        Raises:
            MedaiError: it was changed.
        """
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            mac, line = record.pop("mac"), bytes.fromhex(record.pop("line"))
            head = Head(**record, line=self._key.decrypt("register", self._cohort, line, record["head"]).decode())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise MedaiError(f"the register {self.path} is damaged; restore the newest copy of it") from None
        if mac != self._mac(head):
            raise MedaiError(f"the register {self.path} was changed, or is another key's; restore the newest copy of it")
        return head

    def write(self, head: Head) -> None:
        """Replace the register durably. The line is encrypted: a file that a crash leaves behind tells no result that does not count."""
        line = self._key.encrypt("register", self._cohort, head.line.encode(), head.head).hex()
        with atomic_file(self.path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(asdict(head) | {"line": line, "mac": self._mac(head)}, indent=2) + "\n", encoding="utf-8")

    def settle(self, head: Head) -> None:
        """Note that the ledger holds the last line."""
        self.write(replace(head, settled=True))

    def _mac(self, head: Head) -> str:
        return self._key.mac("register", self._cohort, canonical_json(asdict(head)))
