"""A secret in a file of its own: 64 hexadecimal digits that its owner alone can read."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from medai.core.error import MedaiError

LENGTH = 32  # bytes


def read_secret(path: Path, whose: str, *, create: bool, absent: str, another: str) -> bytes:
    """Read a secret; where there is none it may be made, with mode 0600.

    Args:
        path: The file.
        whose: For the messages, e.g. ``"site's key"``.
        create: Make it where there is none.
        absent: What to do where it is absent, for the message.
        another: How to name another file, for the message.

    Returns:
        At least 32 bytes.

    Raises:
        MedaiError: the file is absent and not to be made, others can read it, or it holds something else.
    """
    if not path.exists():
        if not create:
            raise MedaiError(f"the {whose} {path} does not exist; {absent}")
        _create(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise MedaiError(f"the {whose} {path} can be read by others; run: chmod 600 {path}")
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, OSError):
        secret = b""
    if len(secret) < LENGTH:
        raise MedaiError(f"{path} is not {'an' if whose[0] in 'aeiou' else 'a'} {whose} (64 hexadecimal digits); restore it, or {another}")
    return secret


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(LENGTH).encode() + b"\n")
        os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was first: then its key holds
            os.link(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        os.close(descriptor)
        temporary.unlink()
