"""The evaluator's key: AES-256-GCM (NIST SP 800-38D) for what is secret, HMAC-SHA256 (RFC 2104) for what is public but must not change.

Every purpose has a key of its own, which follows from the secret and the seal, so that a piece of one seal fits no other.
"""

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.core.secret import read_secret

NONCE = 12


@dataclass(frozen=True)
class SealKey:
    """The secret of a facility, which its evaluator alone holds.

    Args:
        path: The file that it lies in.
        secret: At least 32 bytes.
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
    path = Path(path).expanduser().resolve()  # by whatever link it is named: it has one register
    if outside is not None and path.is_relative_to(outside.resolve()):
        raise MedaiError(f"the key {path} would lie inside the cohort; keep it where only the evaluator can read it")
    absent = "name the file that the test set was sealed with"
    return SealKey(path, read_secret(path, "evaluator's key", create=create, absent=absent, another="name another file"))
