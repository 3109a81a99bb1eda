"""What is predicted: the definition of a label, and the columns it has in tables."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medai.core.error import MedaiError

KINDS = ("binary", "multiclass", "ordinal")


@dataclass(frozen=True)
class Label:
    """One label of a cohort, a model or a table of predictions. Several binary labels make a multi-label task.

    Attributes:
        name: Column name in every table, e.g. ``"pneumonia"``.
        kind: ``"binary"``, ``"multiclass"`` or ``"ordinal"`` (classes in ascending order).
        classes: Names of the classes; for a binary label (negative, positive).
        meaning: One sentence for people.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    meaning: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        if not self.name or "." in self.name:
            raise MedaiError(f"label name {self.name!r} must not be empty or contain a dot")
        if self.kind not in KINDS:
            raise MedaiError(f"label {self.name!r} has kind {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.kind == "binary" and len(self.classes) != 2:
            raise MedaiError(f"binary label {self.name!r} needs two classes (negative, positive), got {list(self.classes)}")
        if self.kind != "binary" and len(self.classes) < 3:
            raise MedaiError(f"{self.kind} label {self.name!r} needs at least three classes, got {list(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise MedaiError(f"label {self.name!r} names a class twice: {list(self.classes)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label's probability columns without their prefix: one if binary, else one a class."""
        return (self.name,) if self.kind == "binary" else tuple(f"{self.name}.{name}" for name in self.classes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"classes": list(self.classes)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Label":
        return Label(value["name"], value["kind"], tuple(value["classes"]), value.get("meaning", ""))


def columns_of(labels: Iterable[Label]) -> tuple[str, ...]:
    """The probability columns of several labels, in order: the order of a network's outputs."""
    return tuple(column for label in labels for column in label.columns)


def slices_of(labels: Iterable[Label]) -> dict[str, slice]:
    """Where each label's columns lie among the outputs of a network."""
    slices, start = {}, 0
    for label in labels:
        slices[label.name] = slice(start, start + len(label.columns))
        start += len(label.columns)
    return slices
