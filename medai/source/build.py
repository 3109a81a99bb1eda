"""The source that a configuration names."""

import inspect
from collections.abc import Mapping
from typing import Any

from medai.core.error import MedaiError
from medai.core.target import build
from medai.source.base import Source


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
    source: Source = build(node, "a data set's source", is_source)
    return source
