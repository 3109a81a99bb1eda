"""The evaluator's key: AES-256-GCM (NIST SP 800-38D) for what is secret, HMAC-SHA256 (RFC 2104) for what is public but must not change.

Every purpose has a key of its own, which follows from the secret and the seal, so that a piece of one seal fits no other.
"""

import hmac
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError

NONCE = 12


@dataclass(frozen=True)
class SealKey:
    """The secret of a facility, which its evaluator alone holds.

    Args:
        path: The file that it lies in.
        secret: 32 bytes.
    """

    path: Path
    secret: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """Tells one key from another without giving it away."""
        return self.mac("identity", "", "")[:16]

    def mac(self, purpose: str, seal: str, text: str) -> str:
        """The authentication code of a text, for a purpose and a seal."""
        return hmac.digest(self._derived(purpose, seal), text.encode(), "sha256").hex()

    def encrypt(self, purpose: str, seal: str, data: bytes, about: str) -> bytes:
        """Encrypt data and bind them to `about`, which must be known to decrypt them."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._cipher(purpose, seal).encrypt(nonce, data, about.encode())
        return nonce + sealed

    def decrypt(self, purpose: str, seal: str, data: bytes, about: str) -> bytes:
        """What `encrypt` was given.

        Raises:
            ValueError: another key, another purpose or seal, another `about`, or changed data.
        """
        cipher = self._cipher(purpose, seal)
        from cryptography.exceptions import InvalidTag

        try:
            opened: bytes = cipher.decrypt(data[:NONCE], data[NONCE:], about.encode())
        except (InvalidTag, ValueError):
            raise ValueError("it was changed, or sealed with another key") from None
        return opened

    def _derived(self, purpose: str, seal: str) -> bytes:
        return hmac.digest(self.secret, f"medai seal\0{purpose}\0{seal}".encode(), "sha256")

    def _cipher(self, purpose: str, seal: str) -> Any:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError:
            raise MedaiError("sealed labels are encrypted; run: pip install 'medai[ingest]'") from None
        return AESGCM(self._derived(purpose, seal))


def read_key(path: Path, *, create: bool = False, outside: Path | None = None) -> SealKey:
    """Read the evaluator's key: 64 hexadecimal digits in a file that its owner alone can read.

    Args:
        path: The file.
        create: Make it where there is none.
        outside: A folder that must not hold it: whoever gets the cohort would get the key.

    Raises:
        MedaiError: it is absent, can be read by others, lies in the cohort, or is no key.
    """
    path = Path(path).expanduser()
    if outside is not None and path.resolve().is_relative_to(outside.resolve()):
        raise MedaiError(f"the key {path} would lie inside the cohort; keep it where only the evaluator can read it")
    if not path.exists():
        if not create:
            raise MedaiError(f"the evaluator's key {path} does not exist; name the file that the test set was sealed with")
        _create(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise MedaiError(f"the evaluator's key {path} can be read by others; run: chmod 600 {path}")
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, OSError):
        secret = b""
    if len(secret) != 32:
        raise MedaiError(f"{path} is not an evaluator's key (64 hexadecimal digits); restore it, or name another file")
    return SealKey(path, secret)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was first: then its key holds
            os.link(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        os.close(descriptor)
        temporary.unlink()
