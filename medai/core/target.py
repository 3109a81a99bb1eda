"""Build what a configuration names by a dotted path, and nothing else.

A configuration can come from a stranger. So the object that a path resolves to must be of the expected kind: a prefix is
not enough, since `torch.load` and `torch.hub` lie under `torch.` too.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from medai.core.error import MedaiError


def locate(path: str) -> Any:
    """The object at a dotted path.

    Raises:
        MedaiError: there is no such module or attribute.
    """
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            name = ".".join(parts[:end])
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise MedaiError(f"{path} needs the package {error.name!r}, which is not installed") from None
        try:
            for part in parts[end:]:
                found = getattr(found, part)
        except AttributeError:
            raise MedaiError(f"{path} does not exist: {found!r} has no {part!r}") from None
        return found
    raise MedaiError(f"{path!r} does not exist; give the dotted path of a class, e.g. 'my_package.my_module.MyNetwork'")


def build(node: Mapping[str, Any], role: str, allowed: Callable[[Any], bool], *arguments: Any, **keywords: Any) -> Any:
    """Call the target of a configuration node with its arguments.

    Args:
        node: ``{"_target_": dotted path, argument: value, …}``.
        role: What is expected, for the error: ``"a network"``.
        allowed: Whether the located object is of the expected kind.
        arguments: Passed first.
        keywords: Passed too; the node's own arguments win.

    Raises:
        MedaiError: no target, a target of another kind, or arguments that it does not take.
    """
    if "_target_" not in node:
        raise MedaiError(f"{role} is named by _target_, got {dict(node)}")
    path = str(node["_target_"])
    target = locate(path)
    if not allowed(target):
        raise MedaiError(f"{path} is not {role}; a configuration may only name {role} here")
    own = {str(key): value for key, value in node.items() if key != "_target_"}
    try:
        return target(*arguments, **(keywords | own))
    except (TypeError, ValueError) as error:
        raise MedaiError(f"{path} does not take these arguments: {error}") from None
