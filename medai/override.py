"""Values on the command line: a path or a text is taken as it is written, whatever Hydra's grammar thinks of its characters.

Hydra reads ``key=value`` by a grammar in which spaces, parentheses, ``=``, commas, quotes, ``${`` and letters outside ASCII
have a meaning or none. Here the value is quoted for it where it is a text, or where it would not be understood.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from medai.core.error import MedaiError

PATH_KEYS = frozenset({"path", "labels", "candidate", "predictions", "output", "runs", "cohorts", "folder", "plan", "resume", "repeat"})
# Texts that people write; other keys hold words and numbers, and keep Hydra's grammar (sweeps, lists).
TEXT_KEYS = PATH_KEYS | {
    "name", "title", "intended_use", "uri", "url", "licence", "description", "meaning", "patient_pattern", "site_pattern",
}  # fmt: skip
OPEN_KEYS = frozenset(
    {"thresholds", "columns", "hold_out", "series", "readers", "query"}
)  # mappings with keys of the user's own: Hydra wants them added, not changed


def to_override(argument: str, *, sweep: bool, parses: Callable[[str], bool]) -> str:
    """An argument of the command line as an override in Hydra's grammar.

    Args:
        argument: ``key=value``, ``+key=value``, ``++key=value`` or ``~key``.
        sweep: Whether commas separate the values of a sweep.
        parses: Whether Hydra's grammar takes an override.

    Raises:
        MedaiError: the argument is not of this form.

    Example:
        >>> to_override("dataset.path=X rays (2024)/a=b", sweep=False, parses=lambda override: True)
        "dataset.path='X rays (2024)/a=b'"
    """
    if argument.startswith("~") and "=" not in argument:
        return argument
    match = re.fullmatch(r"(~|\+\+|\+)?([^=]+)=(.*)", argument, flags=re.DOTALL)
    if not match:
        raise MedaiError(f"{argument!r} is not a setting; write key=value, e.g. seed=1 (--help lists the keys)")
    prefix, key, value = match[1] or "", match[2], match[3]
    if not re.fullmatch(r"[A-Za-z_$][\w$./@:-]*", key, flags=re.ASCII):
        raise MedaiError(f"{key!r} in {argument!r} is not a key; a key has letters, digits, '_', '.' and '/' (--help lists the keys)")
    if not prefix and OPEN_KEYS & set(key.split(".")):
        prefix = "++"
    last = key.split("@")[0].split(".")[-1]
    if last in PATH_KEYS and value.startswith(("~/", "~\\")):
        value = os.path.expanduser(value)
    start = f"{prefix}{key}="
    if last in TEXT_KEYS:
        return start + _text(value, sweep, start, parses)
    if value and not parses(start + value):
        parts = value.split(",") if sweep and not set(value) & set("[]{}()'\"") else [value]
        return start + ",".join(part if parses(start + part) else quote(part) for part in parts)
    return argument if not match[1] and start == f"{key}=" else start + value


def _text(value: str, sweep: bool, start: str, parses: Callable[[str], bool]) -> str:
    if value.lower() in ("", "null", "???"):
        return value
    exists = _exists(value)
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if quoted and not exists and parses(start + value):
        return value  # quoted for Hydra already
    if sweep and "," in value and not exists:
        return ",".join(quote(part) for part in value.split(","))
    return quote(value)


def _exists(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long, or a null byte
        return False


def quote(text: str) -> str:
    """`text` as a quoted value of Hydra's grammar, in which OmegaConf finds no interpolation either.

    Example:
        >>> quote("X rays (2024)")
        "'X rays (2024)'"
    """
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{text}'"
