"""Names in a cohort: literal for public data, HMAC-SHA256 with the site's key for hospital data.

Plain hashes of patient numbers can be enumerated, so the key is secret. It is made once, outside every cohort, readable by
its owner alone, and it never enters a cohort, a log or a tracking server.
"""

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from medai.core.secret import read_secret

KEY_VARIABLE = "MEDAI_SITE_KEY"
NAME_LENGTH = 32  # hexadecimal digits, 128 bits
LARGEST_SHIFT_DAYS = 3650


@dataclass(frozen=True)
class Keys:
    """How names, hashes and dates enter a cohort.

    Args:
        secret: The site's key; None keeps everything literal (public data).

    Example:
        >>> Keys(None).name("patient", "TCGA-17-Z013")
        'TCGA-17-Z013'
    """

    secret: bytes | None = field(repr=False)

    @staticmethod
    def of(public: bool, create: bool = True) -> "Keys":
        """Literal for public data, else the site's key."""
        return Keys(None if public else site_key(create))

    @property
    def public(self) -> bool:
        return self.secret is None

    def name(self, kind: str, text: str | None) -> str | None:
        """The name of a patient, study, series, instance or file; `kind` keeps equal texts of different kinds apart."""
        if text is None or self.secret is None:
            return text
        return self._digest(kind, text)[:NAME_LENGTH]

    def names(self, kind: str, texts: pl.Series) -> pl.Series:
        """Many names at once; each distinct text is computed once."""
        if self.secret is None:
            return texts
        distinct = texts.drop_nulls().unique(maintain_order=True)
        keyed = pl.Series([self.name(kind, text) for text in distinct], dtype=pl.String)
        return texts.replace_strict(distinct, keyed, default=None, return_dtype=pl.String)

    def hash(self, kind: str, digest: str) -> str:
        """A content hash: itself for public data, else keyed, since small contents could be guessed."""
        return digest if self.secret is None else self._digest(kind, digest)

    def days_back(self, person: str) -> int:
        """By how many days the dates of a person are moved into the past: 0 for public data, else 1 to 3650."""
        if self.secret is None:
            return 0
        return 1 + int(self._digest("date", person)[:16], 16) % LARGEST_SHIFT_DAYS

    @property
    def identity(self) -> str | None:
        """Tells one site's key from another's without giving it away."""
        return None if self.secret is None else self._digest("identity", "")[:16]

    def _digest(self, kind: str, text: str) -> str:
        assert self.secret is not None
        return hmac.digest(self.secret, f"{kind}\0{text}".encode(), "sha256").hex()


def site_key_path() -> Path:
    """Where the site's key lies: $MEDAI_SITE_KEY, else ~/.config/medai/site.key."""
    named = os.environ.get(KEY_VARIABLE)
    return Path(named) if named else Path.home() / ".config" / "medai" / "site.key"


def site_key(create: bool = True) -> bytes:
    """The site's key; it is made at the first call, with mode 0600.

    Raises:
        MedaiError: the file is absent and `create` is false, others can read it, or it is not a key.
    """
    path = site_key_path()
    named = f"name its file in ${KEY_VARIABLE}"
    return read_secret(path, "site's key", create=create, absent=named, another=f"name another file in ${KEY_VARIABLE}")
