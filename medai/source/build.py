"""The source that a configuration names."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from medai.core.error import MedaiError
from medai.core.target import build, locate
from medai.source.base import Source

KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a text"),
    "list": ((list, tuple), "a list, e.g. [a, b]"),
    "dict": (Mapping, "a mapping, e.g. {a: b}"),
}


def is_source(target: Any) -> bool:
    """Whether a configuration may name `target` as a data set: a class that can scan and read."""
    return inspect.isclass(target) and all(callable(getattr(target, name, None)) for name in ("scan", "prepare", "read"))


def build_source(node: Mapping[str, Any]) -> Source:
    """Build a data set's definition.

    Raises:
        MedaiError: no data set is named, or its definition is wrong.
    """
    if not node:
        raise MedaiError("no data set is named; give dataset=<name>, e.g. dataset=phantom or dataset=folder dataset.path=…")
    target = locate(str(node.get("_target_", "")))
    if is_dataclass(target):
        _check_types(
            node, {entry.name: entry.type.__name__ if isinstance(entry.type, type) else str(entry.type) for entry in fields(target)}
        )
    source: Source = build(node, "a data set's source", is_source)
    return source


def _check_types(node: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Refuse values of the wrong kind: `public=no` is a text, which would count as true and leave names in the clear.

    Raises:
        MedaiError: names the key, the value and what it must be.
    """
    for key, value in node.items():
        kind = types.get(str(key), "").partition("[")[0].removesuffix(" | None").strip()
        if kind not in KINDS or (value is None and "None" in types[str(key)]):
            continue
        allowed, words = KINDS[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise MedaiError(f"dataset.{key} is {value!r}; it must be {words}")
