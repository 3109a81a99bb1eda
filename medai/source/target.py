"""From raw values (a table's cells, folder names, numbers) to labels: their definitions and class indices."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from medai.cohort.agreement import UNCERTAIN_VOTE
from medai.cohort.schema import CASE_SCHEMA
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.source.readers import check_fit, check_rule

LOGICAL = (
    ("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("nein", "ja"), ("nee", "ja"), ("non", "oui"), ("no", "si"),
    ("no", "sí"), ("negativ", "positiv"), ("否", "是"), ("无", "有"), ("阴性", "阳性"),
)  # fmt: skip
_ENGLISH = tuple(word for pair in LOGICAL[:5] for word in pair)  # tables that several hands filled mix them
WORDS = (*LOGICAL, ("negative", "positive"), ("absent", "present"))
NEGATIVE = (
    "normal", "negative", "healthy", "none", "no finding", "no_finding", "benign", "control", "absent", "no", "0", "false",
    "unauffällig", "ohne befund", "o.b.", "gesund", "gutartig", "négatif", "negativo", "sain", "sano", "正常", "健康", "良性", "未见异常",
    *(pair[0] for pair in LOGICAL),
)  # fmt: skip
NEGATED = ("no ", "no_", "not ", "non-", "without ", "kein ", "keine ", "ohne ", "nicht ", "pas de ", "sans ", "sin ", "无", "未", "非")
UNKNOWN = ("", "nan", "na", "n/a", "null", "none", "unknown", "?")
UNCERTAIN = "-1"  # in a binary column, as in CheXpert: the reader was not sure
CONTAINED = {"0": 0, "1": 1}  # what a cell that holds a list becomes: whether it contains the finding
MOST_CLASSES = 64  # more distinct values than this are hardly classes
SURE_CLASSES = 12  # more than this are hardly classes where each occurs a few times: they are free text or numbers of patients
FEWEST_EACH = 4
SETTINGS = ("name", "column", "kind", "classes", "values", "meaning", "uncertain", "contains", "separator", "readers", "rule")
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
        uncertain: Raw values that mean "not sure". None: -1 in a binary column, where it is no class.
        contains: The column holds lists of findings, and this one makes the label positive: "Mass" in "Effusion|Mass".
        separator: What separates these findings.
        readers: Several raw columns in the place of one, each of a reader.
        rule: What becomes of several readers' answers, one of `medai.source.readers.RULES`; None: the data set's rule.
    """

    name: str
    column: str
    kind: str | None = None
    classes: tuple[str, ...] | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    meaning: str = ""
    uncertain: tuple[str, ...] | None = None
    contains: str | None = None
    separator: str = "|"
    readers: tuple[str, ...] = ()
    rule: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The raw columns."""
        return self.readers or (self.column,)

    def label(self, raw: pl.Series) -> Label:
        """The label's definition; `raw` is asked only where the definition is silent."""
        classes = self.classes or (tuple(dict.fromkeys(self.values.values())) if self.values else None) or _infer_classes(self, raw)
        label = Label(self.name, self.kind or ("binary" if len(classes) == 2 else "multiclass"), classes, self.meaning)
        if self.rule:
            check_fit(self.rule, label)
        return label

    def columns(self, raw: pl.Series, label: Label, where: str, first_row: int = 1) -> tuple[pl.Series, pl.Series]:
        """The columns of `Scan.annotations`: the class index of every raw value, and whether it is uncertain (then it has none)."""
        indices = self.indices(raw, label, where, first_row).alias(f"label.{label.name}")
        return indices, self._uncertain(self._texts(raw, label), label).alias(f"label.{label.name}.uncertain")

    def votes(self, raw: pl.DataFrame, label: Label, where: str, first_row: int = 1) -> list[pl.Series]:
        """The vote of each raw column: the class index, -1 where it is uncertain, null where it is unknown."""
        votes = []
        for column in self.sources:
            indices, uncertain = replace(self, column=column).columns(raw[column], label, where, first_row)
            votes.append(indices.set(uncertain, UNCERTAIN_VOTE).alias(column))
        return votes

    def indices(self, raw: pl.Series, label: Label, where: str, first_row: int = 1) -> pl.Series:
        """The class index of every raw value; empty and uncertain cells are null.

        Raises:
            MedaiError: a value outside the classes. The row is named (the first is `first_row`), since the definition is wrong then.
        """
        known = self._meanings(label)
        texts = self._texts(raw, label)
        indices = texts.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Int16)
        uncertain = self._uncertain(texts, label)
        bad = (texts.is_not_null() & indices.is_null() & ~uncertain).arg_true()
        if len(bad):
            allowed = ", ".join(self.values) if self.values else f"{', '.join(label.classes)} (or 0 to {len(label.classes) - 1})"
            got = f"{where} row {bad[0] + first_row}: {self.column!r} is {str(raw[int(bad[0])]).strip()!r}"
            hint = f"; if it means not sure, say uncertain: {UNCERTAIN}" if texts[bad[0]] == UNCERTAIN else ""
            raise MedaiError(f"{got}; allowed for the label {self.name!r}: {allowed}{hint}")
        return indices.set(uncertain, None).alias(self.name)

    def _texts(self, raw: pl.Series, label: Label) -> pl.Series:
        """Raw cells in lower case; null where they say nothing. Of a cell that holds a list: whether it contains the finding."""
        if self.contains is not None:
            found = _parts(as_text(raw), self.separator).list.contains(self.contains.strip().lower())
            return found.cast(pl.Int8).cast(pl.String)
        said = {*self._meanings(label), *(self.uncertain or ())}
        return as_text(raw, empty=tuple(word for word in UNKNOWN if word not in said)).str.to_lowercase()

    def _uncertain(self, texts: pl.Series, label: Label) -> pl.Series:
        words = self.uncertain
        if words is None:
            words = (UNCERTAIN,) if label.kind == "binary" and UNCERTAIN not in self._meanings(label) else ()
        return texts.is_in(list(words)).fill_null(False) if words else pl.repeat(False, len(texts), eager=True)

    def _meanings(self, label: Label) -> dict[str, int]:
        """Raw value in lower case -> class index."""
        if self.contains is not None:
            return CONTAINED
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
    readers, rule, contains = _listed(entry.get("readers")), entry.get("rule"), entry.get("contains")
    if readers and entry.get("column"):
        raise MedaiError(f"dataset.targets.{name} has column and readers; give one of them, since both say where the label stands")
    if len(set(readers)) < len(readers) or len(readers) == 1:
        raise MedaiError(f"dataset.targets.{name}.readers is {list(readers)}; it names two or more different columns")
    if contains is not None and (values or len(classes or (0, 1)) != 2):
        raise MedaiError(f"dataset.targets.{name} has contains: it makes a label of two classes, and takes no values")
    if rule is not None:
        check_rule(str(rule), f"dataset.targets.{name}.rule")
    uncertain = None if entry.get("uncertain") is None else tuple(word.lower() for word in _listed(entry["uncertain"]))
    both = sorted({raw.lower() for raw in values} & set(uncertain or ()))
    if both:
        raise MedaiError(f"dataset.targets.{name}: {both[0]!r} is uncertain and one of the values; it can mean one of both")
    return Target(
        name=name,
        column=str(entry.get("column") or (" and ".join(readers) if readers else name)),
        kind=entry.get("kind"),
        classes=tuple(map(str, classes)) if classes else None,
        values=values,
        meaning=str(entry.get("meaning") or ""),
        uncertain=uncertain,
        contains=None if contains is None else str(contains),
        separator=str(entry.get("separator") or "|"),
        readers=readers,
        rule=None if rule is None else str(rule),
    )


def _listed(value: Any) -> tuple[str, ...]:
    """A setting that is one value or a list of them, as texts."""
    if value is None:
        return ()
    return tuple(_key(one) for one in ([value] if isinstance(value, str | int | float) else value))


def _key(value: Any) -> str:
    """A key of YAML as the text that a table holds: true -> "true", 1.0 -> "1"."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_text(raw: pl.Series, empty: Sequence[str] = UNKNOWN) -> pl.Series:
    """Raw cells as clean text: blanks stripped, 1.0 is 1, and words that say nothing are null."""
    texts = raw.cast(pl.String).str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")
    return texts.set(texts.str.to_lowercase().is_in(list(empty)).fill_null(False), None)


def _parts(cells: pl.Series, separator: str) -> pl.Series:
    """The findings that each cell lists, in lower case."""
    return cells.str.to_lowercase().str.split(separator).list.eval(pl.element().str.strip_chars())


def _check_contained(target: Target, raw: pl.Series) -> None:
    """A name that occurs nowhere would make every case negative: a slip, unless the definition names the classes itself."""
    assert target.contains is not None
    parts = _parts(as_text(raw).unique(), target.separator).explode().drop_nulls()
    if target.contains.strip().lower() not in parts:
        there = parts.unique().sort().head(20).to_list()
        got = f"no cell of {target.column!r} contains {target.contains!r}; they hold: {', '.join(there) or 'nothing'}"
        raise MedaiError(f"{got}; if none is meant to, give the target classes: [negative, positive]")


def _infer_classes(target: Target, raw: pl.Series) -> tuple[str, ...]:
    if target.contains is not None:
        _check_contained(target, raw)
        return "negative", "positive"
    unsure = target.uncertain or ()
    empty = tuple(word for word in UNKNOWN if word not in unsure)
    distinct = order_classes([text for text in as_text(raw, empty).drop_nulls().unique().to_list() if text.lower() not in unsure])
    lowered = {value.lower() for value in distinct}
    sure = lowered - {UNCERTAIN}
    if sure and any(sure <= set(pair) for pair in (*LOGICAL, _ENGLISH)):
        _check_sign(target, lowered)
        return "negative", "positive"
    _check_order(target, distinct)
    said = len(raw) - raw.null_count()
    if len(distinct) > SURE_CLASSES and said < FEWEST_EACH * len(distinct):
        got = f"the column {target.column!r} holds {len(distinct)} distinct values in {said} rows"
        raise MedaiError(f"{got}: free text or names, it seems, which do not belong in a cohort; give the target its classes if they do")
    if not 2 <= len(distinct) <= MOST_CLASSES:
        got = f"{len(distinct)} distinct values" if len(distinct) != 1 else f"the value {distinct[0]!r} alone"
        raise MedaiError(f"the column {target.column!r} holds {got}, from which no classes can be told; give the target its classes")
    return tuple(distinct)


def _check_order(target: Target, distinct: Sequence[str]) -> None:
    """Of two words that say nothing of themselves, a guess would make the positive the negative every other time."""
    if len(distinct) == 2 and not any(_is_negative(name) or _number(name) is not None for name in distinct):
        got = f"the column {target.column!r} holds {distinct[0]!r} and {distinct[1]!r}"
        raise MedaiError(f"{got}, and nothing says which is the negative one; give the target its classes, the negative one first")


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
        negative = NEGATIVE.index(lowered) if lowered in NEGATIVE else len(NEGATIVE) + (not _is_negative(name))
        number = _number(name)
        return negative, float("inf") if number is None else number, name

    return sorted(names, key=rank)


def _is_negative(name: str) -> bool:
    """Whether a word means that there is nothing: "normal", "no tumour"."""
    return name.lower() in NEGATIVE or name.lower().startswith(NEGATED)


def _number(name: str) -> float | None:
    return float(name) if re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", name) else None
