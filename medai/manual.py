"""The text of `--help`: the opening comment of the command's YAML, the groups, and the settings with their meaning."""

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FLAGS = """\
  -m, --multirun              run every combination of the values separated by commas, e.g. seed=0,1,2
  -c, --cfg job               show the composed configuration and stop (with --resolve; -p KEY for a part of it)
  -cd, --config-dir FOLDER    join your own tree: dataset/mine.yaml is then dataset=mine
  -i, --info [WHAT]           how it was composed: defaults, defaults-tree, config, searchpath, plugins
  -h, --help                  this text, with the values that the given settings lead to
"""
WIDTH = 140


def opening_comment(path: Path) -> str:
    """The comment at the head of a YAML file, without its marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def manual(title: str, opening: str, groups: Mapping[str, Sequence[str]], values: Iterable[tuple[str, Any]], schema: type) -> str:
    """The whole text.

    Args:
        title: First line.
        opening: What the command is for, with examples.
        groups: Options by group.
        values: Keys with dots and their values.
        schema: The settings' dataclass, whose docstrings tell the meaning.
    """
    parts = [title, textwrap.indent(opening, "  ")]
    if groups:
        parts.append("Groups (group=option):\n" + "\n".join(_entry(name, ", ".join(options), 18) for name, options in groups.items()))
    meanings = dict(documented(schema))
    lines = [_entry(f"{key}={_shown(value)}", meanings.get(key, ""), 40) for key, value in values]
    parts.append("Settings (key=value), with the values that hold now:\n" + "\n".join(lines))
    parts.append("Flags:\n" + FLAGS.rstrip())
    return "\n\n".join(parts)


def documented(schema: type, prefix: str = "") -> list[tuple[str, str]]:
    """Every key of a settings' dataclass with its meaning, from the section "Attributes" of the docstrings."""
    found: list[tuple[str, str]] = []
    meanings = _attributes(inspect.getdoc(schema) or "")
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        found.append((prefix + field.name, meanings.get(field.name, "")))
        if dataclasses.is_dataclass(hints[field.name]):
            found.extend(documented(hints[field.name], f"{prefix}{field.name}."))
    return found


def expected(schema: type, key: str) -> str:
    """What a key's value has to be, in words; empty where anything may stand.

    Example:
        >>> expected(TrainSettings, "training.epochs")
        'a whole number'
    """
    hint: Any = schema
    for part in key.split("."):
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint).get(part, Any)
        elif typing.get_origin(hint) in (dict, list):
            hint = typing.get_args(hint)[-1]
        else:
            return ""
    return _in_words(hint)


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _in_words(part) for part in typing.get_args(hint))
    words: dict[Any, str] = {
        int: "a whole number", float: "a number", bool: "true or false", str: "a text",
        list: "a list, e.g. [a,b]", dict: "a group of settings",
    }  # fmt: skip
    if dataclasses.is_dataclass(hint):
        return words[dict]
    return words.get(typing.get_origin(hint) or hint, "")


def _attributes(document: str) -> dict[str, str]:
    section = re.search(r"^Attributes:\n((?:[ ]+.*\n?|\n)+)", document, flags=re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^    (\w+): ((?:.*)(?:\n {5,}.*)*)", section[1], flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "") for name, text in entries}


def _entry(name: str, text: str, indent: int) -> str:
    start, margin = f"  {name}", " " * (indent + 2)
    body = textwrap.wrap(text, WIDTH - indent - 2)
    if body and len(start) < indent:
        return start.ljust(indent + 2) + f"\n{margin}".join(body)
    return "\n".join([start, *(margin + line for line in body)])


def _shown(value: Any) -> str:
    shown = {None: "null", True: "true", False: "false"}[value] if isinstance(value, bool | None) else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
