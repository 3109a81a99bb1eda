"""What Hydra, OmegaConf and YAML complain of, in one line that names the key, the value and what is allowed."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from medai.manual import expected


def explain(
    error: Exception,
    command: str,
    schema: type,
    overrides: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    known_keys: Callable[[], list[str]],
) -> str:
    """One line for a person.

    Args:
        error: What was raised.
        command: The command that was run.
        schema: Its settings' dataclass.
        overrides: What the command line set, in Hydra's grammar.
        groups: The options of every group.
        known_keys: Gives the keys of the configuration; costs a composition.
    """
    text, cause = str(error), error.__cause__ or error.__context__
    if isinstance(error, AssertionError):  # OmegaConf's answer to a key below a group that is null
        text = f"Could not override '{_below_nothing(overrides, known_keys())}'"
    if missing := getattr(error, "missing_cfg_file", None):
        return _unknown_option(str(missing), groups)
    if match := re.match(r"(?:In '(?P<file>.+?)': )?Could not override '(?P<key>[^']+)'", text):
        return _unknown_key(match["key"], command, overrides, groups, known_keys, match["file"])
    if match := re.match(r"Error merging override (.*)", text, flags=re.DOTALL):
        return _wrong_value(match[1], cause, schema)
    if match := re.match(r"In '(.+?)': \w+ raised while composing config", text):
        return _wrong_file(match[1], text, cause, schema, known_keys)
    if match := re.match(r"Ambiguous value for argument '(.+)'", text):
        key = match[1].split("=")[0]
        return f"{match[1]} names several values; add -m to run one after the other, or give a list as {key}=[…]"
    if match := re.match(r"Sweep parameters '(.+)' requires", text):
        return f"{match[1]} is a sweep; add -m to run its values one after the other"
    if match := re.match(r"You must specify '([^']+)'", text):
        return f"{match[1]} is not chosen; give {match[1]}=<one of: {', '.join(groups.get(match[1], []))}>"
    if key := getattr(error, "full_key", None):
        return f"{key}: {_first(text)}"
    if text.startswith("Config group override must be"):
        return _group_value(overrides, groups) or _first(text)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "hydra.cc" not in line) or type(error).__name__


def did_you_mean(name: str, choices: Sequence[str]) -> str:
    """``; did you mean …?`` or nothing: a like word in the same place, or else the same word in another."""
    parent, _, last = name.rpartition(".")
    siblings = {choice.rpartition(".")[2]: choice for choice in choices if choice.rpartition(".")[0] == parent}
    close = [siblings[word] for word in difflib.get_close_matches(last, siblings, n=2, cutoff=0.65)]
    if not close:
        words = {choice.rpartition(".")[2] for choice in choices}
        word = next(iter(difflib.get_close_matches(last, words, n=1, cutoff=0.8)), None)
        close = [choice for choice in choices if choice.rpartition(".")[2] == word][:3]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _below_nothing(overrides: Sequence[str], keys: Sequence[str]) -> str:
    names = [override.lstrip("+").partition("=")[0] for override in overrides]
    return next((name for name in names if name.rpartition(".")[0] in keys), names[0] if names else "?")


def _unknown_option(path: str, groups: Mapping[str, Sequence[str]]) -> str:
    group, _, name = path.rpartition("/")
    if not group:
        return f"there is no configuration {path}.yaml"
    options = groups.get(group, [])
    return f"{group}={name} is unknown; there are: {', '.join(options) or 'none'}{did_you_mean(name, options)}"


def _unknown_key(
    key: str,
    command: str,
    overrides: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    known_keys: Callable[[], list[str]],
    file: str | None,
) -> str:
    where = f"in {file}.yaml: " if file else ""
    if key in groups:
        return f"{where}{key} is no setting of medai {command} (--help lists them)"
    keys = known_keys()
    parent = key.rpartition(".")[0]
    if parent in groups and parent in keys:  # a group that is null
        return f"{where}{key} needs a choice first: {parent}=<one of: {', '.join(groups[parent])}>"
    close = did_you_mean(key, [*keys, *groups])
    siblings = [name.rpartition(".")[2] for name in keys if parent and name.rpartition(".")[0] == parent]
    allowed = f"; {parent} has: {', '.join(siblings)}" if siblings and not close else ""
    if parent in ("dataset", "model") or parent.endswith("optimizer"):
        value = next((text.partition("=")[2] for text in overrides if text.partition("=")[0] == key), "…")
        allowed += f" (an argument that {parent}'s class takes beyond these is added with +{key}={value})"
    return f"{where}{key} is unknown{close}{allowed}" + ("" if close or allowed else "; --help lists the keys")


def _wrong_value(override: str, cause: BaseException | None, schema: type) -> str:
    key, _, value = override.lstrip("+").partition("=")
    full_key = str(getattr(cause, "full_key", None) or key)
    place, told = re.search(r"\[(\d+)\]$", full_key), re.match(r"Value '(.*?)'", str(cause))
    if place and told:  # one value of a list
        full_key, value = f"{full_key.removesuffix(place[0]) or key}{place[0]}", told[1]
    wanted = expected(schema, re.sub(r"\[(\d+)\]", r".\1", full_key))
    shown = value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value
    return f"{full_key} is {shown!r}; it must be {wanted}" if wanted else f"{full_key} is {shown!r}: {_first(str(cause))}"


def _wrong_file(file: str, text: str, cause: BaseException | None, schema: type, known_keys: Callable[[], list[str]]) -> str:
    key = getattr(cause, "full_key", None) or next(iter(re.findall(r"full_key: (\S+)", text)), "")
    detail = _first(text.partition("\n")[2])
    if "not in" in detail or "not in struct" in detail:
        return f"in {file}.yaml: {key} is unknown{did_you_mean(str(key), known_keys())}"
    wanted = expected(schema, str(key)) if key else ""
    return f"in {file}.yaml: {key}: {detail}" + (f"; it must be {wanted}" if wanted else "")


def _group_value(overrides: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in groups and value not in groups[key]:
            return f"{key}={value} is unknown; there are: {', '.join(groups[key])}"
    return ""


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
