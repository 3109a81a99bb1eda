"""From raw values (a table's cells, folder names, numbers) to labels: their definitions and class indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from medai.cohort.schema import CASE_SCHEMA
from medai.core.error import MedaiError
from medai.core.label import Label

LOGICAL = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
WORDS = (*LOGICAL, ("negative", "positive"), ("absent", "present"))
NEGATIVE = ("normal", "negative", "healthy", "none", "no finding", "no_finding", "benign", "control", "absent", "no", "0", "false")
UNKNOWN = ("", "nan", "na", "n/a", "null", "none", "unknown", "?")
UNCERTAIN = "-1"  # in a binary column, as in CheXpert: the reader was not sure
MOST_CLASSES = 64  # more distinct values than this are hardly classes
SETTINGS = ("name", "column", "kind", "classes", "values", "meaning")
RESERVED = frozenset(CASE_SCHEMA) | {"split", "label_source"}


@dataclass(frozen=True)
class Target:
    """One label to be made from one raw column.

    Attributes:
        name: The label's name.
        column: The raw column; the name where not given.
        kind: None is inferred from the classes: two make it binary, more multiclass.
        classes: None is inferred from the values that occur.
        values: Raw value (as text) to class name; where not given, class names and their indices are understood.
        meaning: One sentence for people.
    """

    name: str
    column: str
    kind: str | None = None
    classes: tuple[str, ...] | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    meaning: str = ""

    def label(self, raw: pl.Series) -> Label:
        """The label's definition; `raw` is asked only where the definition is silent."""
        classes = self.classes or (tuple(dict.fromkeys(self.values.values())) if self.values else None) or _infer_classes(self, raw)
        return Label(self.name, self.kind or ("binary" if len(classes) == 2 else "multiclass"), classes, self.meaning)

    def columns(self, raw: pl.Series, label: Label, where: str) -> tuple[pl.Series, pl.Series]:
        """The columns of `Scan.annotations`: the class index of every raw value, and whether it is uncertain (then it has none)."""
        indices = self.indices(raw, label, where).alias(f"label.{label.name}")
        return indices, self._uncertain(as_text(raw), label).alias(f"label.{label.name}.uncertain")

    def indices(self, raw: pl.Series, label: Label, where: str) -> pl.Series:
        """The class index of every raw value; empty and uncertain cells are null.

        Raises:
            MedaiError: a value outside the classes. The row is named (counted from 1), since the definition is wrong then.
        """
        known = self._meanings(label)
        texts = as_text(raw, empty=tuple(word for word in UNKNOWN if word not in known))
        indices = texts.str.to_lowercase().replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Int16)
        bad = (texts.is_not_null() & indices.is_null() & ~self._uncertain(texts, label)).arg_true()
        if len(bad):
            allowed = ", ".join(self.values) if self.values else f"{', '.join(label.classes)} (or 0 to {len(label.classes) - 1})"
            got = f"{where} row {bad[0] + 1}: {self.column!r} is {texts[bad[0]]!r}"
            raise MedaiError(f"{got}; allowed for the label {self.name!r}: {allowed}")
        return indices.alias(self.name)

    def _uncertain(self, texts: pl.Series, label: Label) -> pl.Series:
        possible = label.kind == "binary" and UNCERTAIN not in self._meanings(label)
        return (texts == UNCERTAIN).fill_null(False) if possible else pl.repeat(False, len(texts), eager=True)

    def _meanings(self, label: Label) -> dict[str, int]:
        """Raw value in lower case -> class index."""
        index = {name: position for position, name in enumerate(label.classes)}
        if self.values:
            return {raw.lower(): index[name] for raw, name in self.values.items()}
        names = {name.lower(): position for name, position in index.items()}
        if any(name.isdigit() for name in names):
            return names  # "1" is a name then, not an index
        meanings = {str(position): position for position in range(len(label.classes))}
        if label.kind == "binary":
            meanings |= {word: position for pair in WORDS for position, word in enumerate(pair)}
        return meanings | names


def parse_targets(targets: Sequence[Any]) -> tuple[Target, ...]:
    """Targets from the node of a data set's definition: names of columns, or mappings.

    Raises:
        MedaiError: unknown keys, a name that the case table needs itself, a value mapped to no class, or a name twice.
    """
    parsed = tuple(_parse(entry) for entry in targets)
    names = [target.name for target in parsed]
    for name in names:
        if names.count(name) > 1:
            raise MedaiError(f"dataset.targets names {name!r} twice")
    return parsed


def _parse(entry: Any) -> Target:
    if isinstance(entry, str):
        entry = {"name": entry}
    unknown = sorted(set(entry) - set(SETTINGS))
    if unknown or "name" not in entry:
        wrong = f"has the unknown key {unknown[0]!r}" if unknown else "has no name"
        raise MedaiError(f"an entry of dataset.targets {wrong}; allowed: {', '.join(SETTINGS)}")
    name = str(entry["name"])
    if name in RESERVED:
        other = f"{{name: {name}_label, column: {name}}}"
        raise MedaiError(f"the label name {name!r} is a column of the case table; name it otherwise, e.g. {other}")
    classes = entry.get("classes")
    values = {_key(key): str(value) for key, value in (entry.get("values") or {}).items()}
    if classes is not None and set(values.values()) - set(map(str, classes)):
        wrong = sorted(set(values.values()) - set(map(str, classes)))[0]
        raise MedaiError(f"dataset.targets.{name}.values leads to {wrong!r}, which is not one of the classes {list(classes)}")
    return Target(
        name=name,
        column=str(entry.get("column") or name),
        kind=entry.get("kind"),
        classes=tuple(map(str, classes)) if classes else None,
        values=values,
        meaning=str(entry.get("meaning") or ""),
    )


def _key(value: Any) -> str:
    """A key of YAML as the text that a table holds: true -> "true", 1.0 -> "1"."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_text(raw: pl.Series, empty: Sequence[str] = UNKNOWN) -> pl.Series:
    """Raw cells as clean text: blanks stripped, 1.0 is 1, and words that say nothing are null."""
    texts = raw.cast(pl.String).str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")
    return texts.set(texts.str.to_lowercase().is_in(list(empty)).fill_null(False), None)


def _infer_classes(target: Target, raw: pl.Series) -> tuple[str, ...]:
    distinct = order_classes(as_text(raw).drop_nulls().unique().to_list())
    lowered = {value.lower() for value in distinct}
    for pair in LOGICAL:
        if lowered - {UNCERTAIN} and lowered - {UNCERTAIN} <= set(pair):
            _check_sign(target, lowered)
            return "negative", "positive"
    if not 2 <= len(distinct) <= MOST_CLASSES:
        got = f"{len(distinct)} distinct values" if len(distinct) != 1 else f"the value {distinct[0]!r} alone"
        raise MedaiError(f"the column {target.column!r} holds {got}, from which no classes can be told; give the target its classes")
    return tuple(distinct)


def _check_sign(target: Target, found: set[str]) -> None:
    """-1 beside both classes is uncertain; beside one alone it could as well be the other class."""
    if UNCERTAIN in found and len(found) == 2:
        got = f"the column {target.column!r} holds {' and '.join(sorted(found))} alone: -1 may be a class or mean uncertain"
        raise MedaiError(f"{got}; give the target classes: [negative, positive] (uncertain), or values: {{-1: …, 1: …}} (a class)")


def order_classes(names: Sequence[str]) -> list[str]:
    """Classes in the order of their indices: what means "normal" first, then numbers, then the alphabet.

    Example:
        >>> order_classes(["PNEUMONIA", "NORMAL"])
        ['NORMAL', 'PNEUMONIA']
    """

    def rank(name: str) -> tuple[int, float, str]:
        lowered = name.lower()
        number = float(lowered) if lowered.lstrip("-").replace(".", "", 1).isdigit() else float("inf")
        negative = NEGATIVE.index(lowered) if lowered in NEGATIVE else len(NEGATIVE)
        return negative, number, name

    return sorted(names, key=rank)
