"""The plan on paper: YAML to read and edit, JSON with all that it rests on, a table for the terminal."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.file import atomic_file, write_json
from medai.planning.option import GROUPS
from medai.planning.plan import Plan, summary
from medai.planning.sheet import Choice, flat, nested
from medai.training.range_test import figure

PLAN_SCHEMA_VERSION = "1.0"
YAML_FILE, JSON_FILE, FIGURE = "plan.yaml", "plan.json", "range_test.svg"
WIDTH = 120


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan into a folder; give the YAML's path.

    Raises:
        MedaiError: the folder cannot be written.
    """
    try:
        with atomic_file(folder / YAML_FILE) as temporary:
            temporary.write_text(to_yaml(plan), encoding="utf-8")
        write_json(folder / JSON_FILE, to_dict(plan))
        if plan.range_test is not None:
            with atomic_file(folder / FIGURE) as temporary:
                temporary.write_text(figure(plan.range_test), encoding="utf-8")
    except OSError as error:
        raise MedaiError(f"the plan cannot be written to {folder} ({error.strerror}); choose another folder") from None
    return folder / YAML_FILE


def to_dict(plan: Plan) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "schema_version": PLAN_SCHEMA_VERSION,
        "choices": [asdict(choice) for choice in plan.choices],
        "notes": list(plan.notes),
        "minutes": round(plan.minutes, 1),
        "machine": asdict(plan.machine),
        "range_test": plan.range_test.to_dict() if plan.range_test else None,
        "fingerprint": plan.facts.to_dict(),
        "versions": versions(),
    }


def to_yaml(plan: Plan) -> str:
    """An experiment file with the reasons as comments.

    It is read by `model=auto model.plan=FILE`, and it also works as an experiment in a user's own tree of configurations.
    """
    network = str(plan.values["model._target_"]).rsplit(".", 1)[-1]
    head = ["# @package _global_", "# medai train model=auto model.plan=plan.yaml dataset=…"]
    for sentence in (f"Plan for {summary(plan)}.", *plan.notes):
        head += textwrap.wrap(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")
    head += ["# Edit what you like: the reasons are comments. Left-out keys take the usual defaults.", "defaults:"]
    head += [f"  - override /model: {network}", "  - _self_"]
    choices = {choice.key: choice for choice in plan.choices}
    tree = nested(plan.values)
    body = [line for group in GROUPS if group in tree for line in ("", f"{group}:", *_lines(tree[group], group, choices, 1))]
    return "\n".join([*head, *body]) + "\n"


def _lines(tree: Mapping[str, Any], prefix: str, choices: Mapping[str, Choice], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, value in tree.items():
        choice = choices.get(f"{prefix}.{key}")
        if choice is None:
            yield f"{indent}{key}:"
            yield from _lines(value, f"{prefix}.{key}", choices, depth + 1)
            continue
        yield from textwrap.wrap(choice.why, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if isinstance(value, list) and value:
            yield f"{indent}{key}:"
            yield from (line for item in value for line in _item(item, f"{indent}  "))
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _item(item: Any, indent: str) -> Iterator[str]:
    short = f"{indent}- {_scalar(item)}"
    if len(short) <= WIDTH or not isinstance(item, Mapping):
        yield short
        return
    for number, (key, value) in enumerate(item.items()):
        yield f"{indent}{'  ' if number else '- '}{key}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    """YAML in one line. Numbers with an exponent get a point, without which YAML takes them for texts."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, bool | int) or _needs_quotes(value) else str(value)


def _needs_quotes(text: str) -> bool:
    try:
        return not isinstance(yaml.safe_load(text), str) or any(mark in text for mark in ",{}[]#:")
    except yaml.YAMLError:
        return True


def read_plan(path: Path) -> dict[str, Any]:
    """The settings of a plan's YAML, by key; its reasons and its defaults list are left out.

    Raises:
        MedaiError: there is no such file, it is not YAML, or it sets what no plan sets.
    """
    path = path / YAML_FILE if path.is_dir() else path
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MedaiError(f"the plan {path} does not exist; make one with: medai plan COHORT --output FOLDER") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MedaiError(f"the plan {path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or not {"model"} <= tree.keys():
        raise MedaiError(f"{path} is no plan: it has no model; make one with: medai plan COHORT --output FOLDER")
    tree.pop("defaults", None)
    strange = sorted(set(tree) - set(GROUPS))
    if strange:
        raise MedaiError(f"the plan {path} sets {strange[0]}; a plan holds {', '.join(GROUPS)}: set others on the command line")
    return flat(tree)


def table(plan: Plan, width: int) -> str:
    """The plan for a terminal: key, value, why.

    Args:
        plan: To be shown.
        width: Of the terminal, in characters.
    """
    rows = [(choice.key, _short(choice.value), choice.why) for choice in plan.choices]
    key, value = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [summary(plan), ""]
    for row in rows:
        why = textwrap.wrap(row[2], max(40, width - key - value - 4)) or [""]
        lines.append(f"{row[0]:<{key}}  {row[1]:<{value}}  {why[0]}")
        lines += [f"{'':<{key + value + 4}}{line}" for line in why[1:]]
    return "\n".join([*lines, "", *plan.notes])


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        names = [str(item.get("_target_", "?")).rsplit(".", 1)[-1].removeprefix("Rand") for item in value]
        return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    text = str(value) if isinstance(value, str) else _scalar(value)
    return text.removeprefix("medai.model.network.").removeprefix("torch.optim.")
