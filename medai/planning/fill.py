"""Put values into settings: typed like the settings themselves, so that an edited plan is checked like a command line."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from medai.core.error import MedaiError

T = TypeVar("T")
WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list", dict: "a mapping"}


def filled(settings: T, tree: Mapping[str, Any], source: str, prefix: str = "") -> T:
    """Settings with other values. A mapping such as the network's node is replaced as a whole.

    Args:
        settings: A dataclass, with others inside.
        tree: Values by key.
        source: Where they come from, for the error.
        prefix: Of the keys, for the error.

    Raises:
        MedaiError: an unknown key, or a value of another type.

    Example:
        >>> filled(TrainSettings(), {"training": {"epochs": 3}}, "plan.yaml").training.epochs
        3
    """
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    hints = typing.get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in hints:
            known = ", ".join(field.name for field in fields(settings))
            raise MedaiError(f"{source}: {prefix}{key} is unknown; there are: {known}")
        old = getattr(settings, key)
        if is_dataclass(old) and isinstance(value, Mapping):
            changes[key] = filled(old, value, source, f"{prefix}{key}.")
        else:
            changes[key] = _typed(value, hints[key], f"{source}: {prefix}{key}")
    return replace(settings, **changes)


def value_of(settings: Any, key: str) -> Any:
    """The value of a key with dots, through dataclasses and mappings."""
    for part in key.split("."):
        settings = settings[part] if isinstance(settings, Mapping) else getattr(settings, part)
    return settings


def _typed(value: Any, hint: Any, what: str) -> Any:
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    plain = [typing.get_origin(kind) or kind for kind in allowed]
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if str in plain and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if any(type(value) is kind for kind in plain):
        return value
    words = " or ".join("null" if kind is type(None) else WORDS.get(kind, "a group of settings") for kind in plain)
    raise MedaiError(f"{what} is {value!r}; it must be {words}")
