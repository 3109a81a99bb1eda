"""Thresholds frozen on validation, in a file that carries its own hash: `operating_point.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text, read_json, write_json
from medai.core.label import Label
from medai.evaluation.table import check_predictions, label_data
from medai.evaluation.threshold import choose, decide

SCHEMA = "medai.operating_point/1"
HELD_OUT = "test"


@dataclass(frozen=True)
class Point:
    """The threshold of one binary label.

    Attributes:
        label: Its name.
        rule: How it was chosen; see `medai.evaluation.threshold.choose`.
        threshold: A case at or above it is called positive.
        cases: With known truth, that it was chosen on.
        events: Positives among them.
        sensitivity: On these cases, hence too good; None without positives.
        specificity: On these cases; None without negatives.
    """

    label: str
    rule: str
    threshold: float
    cases: int
    events: int
    sensitivity: float | None
    specificity: float | None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise MedaiError(f"the threshold of {self.label!r} is {self.threshold}; expected a probability from 0 to 1")


@dataclass(frozen=True)
class OperatingPoints:
    """The frozen thresholds of a model.

    Attributes:
        points: One a binary label.
        split: Where they were chosen, e.g. ``"validation"``; never ``"test"``.
        cohort: Hash of the cohort that the split belongs to; empty where it is not known.
        model: Hash of the model; empty where it is not known.
    """

    points: tuple[Point, ...]
    split: str
    cohort: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        check_split(self.split)
        names = [point.label for point in self.points]
        if not names or len(set(names)) < len(names):
            raise MedaiError(f"operating points need each label once, got {', '.join(names) or 'none'}")

    @property
    def sha256(self) -> str:
        """Hash of all that is frozen."""
        return hash_text(canonical_json(self._content()))

    @property
    def origin(self) -> str:
        """Where the thresholds come from, in words."""
        rules = {point.rule for point in self.points}
        rule = f"rule {rules.pop()}" if len(rules) == 1 else ", ".join(f"{point.label} by {point.rule}" for point in self.points)
        cases = max(point.cases for point in self.points)
        return f"{self.split} ({cases:,} cases), {rule}, frozen in operating_point.json {self.sha256[:16]}"

    def record(self, label: str) -> dict[str, Any]:
        """What the metrics of a label say of its threshold: rule, split, hashes and the cases that it was chosen on."""
        point = next(point for point in self.points if point.label == label)
        return asdict(point) | {"split": self.split, "cohort": self.cohort, "model": self.model, "sha256": self.sha256}

    def _content(self) -> dict[str, Any]:
        points = [asdict(point) for point in self.points]
        return {"schema": SCHEMA, "split": self.split, "cohort": self.cohort, "model": self.model, "points": points}


def choose_points(
    table: pl.DataFrame, labels: Sequence[Label], rules: str | Mapping[str, str], *, split: str, cohort: str = "", model: str = ""
) -> OperatingPoints:
    """Choose a threshold for every binary label on a table of validation predictions.

    Args:
        table: As `read_predictions` gives it; a column ``split`` must not name the test set.
        labels: What was predicted; only the binary ones have thresholds.
        rules: One for all, or one a label.
        split: What the cases are, e.g. ``"validation"``.
        cohort: Hash of the cohort.
        model: Hash of the model.

    Raises:
        MedaiError: the cases are of the test set, a label has no rule, or its rule cannot be met.

    Example:
        >>> points = choose_points(read_predictions(Path("validation.csv")), labels, "sensitivity=0.95", split="validation")
        >>> write_points(Path("operating_point.json"), points)
    """
    check_split(split, *(table["split"].cast(pl.String).drop_nulls().unique().to_list() if "split" in table.columns else []))
    table = check_predictions(table, labels)
    points = []
    for label in labels:
        if label.kind != "binary":
            continue
        rule = rules if isinstance(rules, str) else rules.get(label.name)
        if rule is None:
            raise MedaiError(f"label {label.name!r} has no threshold rule; name one, e.g. youden or sensitivity=0.95")
        data = label_data(table, label)
        truth = data.target == 1
        try:
            threshold = choose(data.probability, truth, rule)
        except MedaiError as error:
            raise MedaiError(f"label {label.name!r}: {error}") from None
        called = decide(data.probability, threshold)
        points.append(
            Point(label.name, rule, threshold, len(truth), int(truth.sum()), _share(called[truth]), _share(~called[~truth]))
        )  # fmt: skip
    return OperatingPoints(tuple(points), split, cohort, model)


def write_points(path: Path, points: OperatingPoints) -> None:
    """Write the file, atomically. Its hash shows a changed byte, not who changed it: it is no signature.

    Raises:
        MedaiError: another set of points is frozen there already.
    """
    path = Path(path)
    if path.exists():
        if read_points(path).sha256 != points.sha256:
            raise MedaiError(f"{path} holds other operating points, and frozen ones are not changed; choose another name")
        return
    write_json(path, points._content() | {"sha256": points.sha256})


def read_points(path: Path) -> OperatingPoints:
    """Read the file and check its hash.

    Raises:
        MedaiError: it is missing, changed after it was written, of another kind or version, or chosen on the test set.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "sha256" not in content or str(content.get("schema", "")).split("/")[0] != SCHEMA.split("/")[0]:
        raise MedaiError(f"{path} is no file of operating points; expected one that was written with schema {SCHEMA}")
    if content["schema"] != SCHEMA:
        raise MedaiError(f"{path} has schema {content['schema']}, this medai reads {SCHEMA}; install a matching medai")
    digest = content.pop("sha256")
    try:
        unchanged = digest == hash_text(canonical_json(content))
    except ValueError:  # NaN or infinity, which this program does not write
        unchanged = False
    if not unchanged:
        raise MedaiError(f"{path} was changed after it was written (its hash does not match); choose the thresholds on validation again")
    try:
        points = tuple(Point(**point) for point in content["points"])
        words = {name: content[name] for name in ("split", "cohort", "model")}
        if not all(isinstance(word, str) for word in words.values()):
            raise TypeError("split, cohort and model are texts")
        return OperatingPoints(points, **words)
    except (KeyError, TypeError) as error:
        raise MedaiError(f"{path} is incomplete ({error}); choose the thresholds on validation again") from None
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None


def thresholds_for(points: OperatingPoints, labels: Sequence[Label], *, model: str = "") -> dict[str, float]:
    """The thresholds of a model's binary labels, out of a frozen file.

    Args:
        points: As `read_points` gives them.
        labels: What is to be evaluated.
        model: Hash of the model that is to be evaluated; empty where it is not known.

    Raises:
        MedaiError: they were frozen for another model, or a label has none.
    """
    if model and points.model and model != points.model:
        raise MedaiError(
            f"the operating points were frozen for the model {points.model[:16]}, this is {model[:16]}; choose them for it on validation"
        )
    frozen = {point.label: point.threshold for point in points.points}
    wanted = [label.name for label in labels if label.kind == "binary"]
    for name in wanted:
        if name not in frozen:
            raise MedaiError(f"label {name!r} has no operating point; the file has {', '.join(frozen)}")
    return {name: frozen[name] for name in wanted}


def check_split(*splits: str) -> None:
    """Refuse the test set as the place where a threshold is chosen.

    Raises:
        MedaiError: one of the splits is the test set.
    """
    for split in splits:
        if split.strip().lower() == HELD_OUT:
            raise MedaiError("a threshold that was chosen on the test set makes its figures too good; choose it on validation")


def known_of(predictions: Path) -> dict[str, str]:
    """What the ``metrics.json`` beside a table of predictions knows of it, for `choose_points`.

    Returns:
        ``split``, ``cohort`` and ``model`` (hashes), as far as they are known.

    Raises:
        MedaiError: the table is of an evaluation on test.

    Example:
        >>> points = choose_points(table, labels, "youden", **({"split": "validation"} | known_of(path)))
    """
    path = Path(predictions).with_name("metrics.json")
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        return {}
    found = {"split": content.get("split")}
    for name, part in (("cohort", "cohort"), ("model", "candidate")):
        record = content.get(part)
        found[name] = record.get("hash") if isinstance(record, dict) else None
    known = {name: value for name, value in found.items() if isinstance(value, str) and value}
    check_split(known.get("split", ""))
    return known


def _share(success: np.ndarray) -> float | None:
    return float(success.mean()) if len(success) else None
