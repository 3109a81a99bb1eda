"""What de-identification needs of a site's key; `medai.cohort.key.Keys` has it."""

from typing import Protocol


class Pseudonyms(Protocol):
    """Keyed names and the secret shift of dates, the same for a person in every file."""

    @property
    def public(self) -> bool:
        """True where there is no key: then nothing can be de-identified."""
        ...

    def name(self, kind: str, text: str | None) -> str | None:
        """The name that replaces `text`; `kind` keeps equal texts of different kinds apart."""
        ...

    def hash(self, kind: str, digest: str) -> str:
        """A keyed hash in hexadecimal, 64 digits."""
        ...

    def days_back(self, person: str) -> int:
        """By how many days the dates of a person are moved into the past."""
        ...


def new_uid(keys: Pseudonyms, uid: str) -> str:
    """The UID that replaces `uid` wherever it stands: ``2.25.`` and a UUID of version 8's form (PS3.5 B.2, RFC 9562).

    Example:
        >>> new_uid(keys, "1.2.3")[:5]
        '2.25.'
    """
    digest = bytearray.fromhex(keys.hash("uid", uid)[:32])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def is_registered(uid: str) -> bool:
    """Whether the standard itself defines the UID: a SOP class, a transfer syntax, a coding scheme (PS3.6 Annex A)."""
    from pydicom.uid import UID_dictionary

    return uid in UID_dictionary
