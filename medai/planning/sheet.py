"""The sheet on which a plan is drawn up: choices in order, each with its reason; what a person has set stands already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GIVEN = "given by hand"


@dataclass(frozen=True)
class Choice:
    """One setting of a plan.

    Attributes:
        key: With dots, as on the command line.
        value: What YAML can hold.
        why: One sentence with the figures it rests on.
    """

    key: str
    value: Any
    why: str


@dataclass
class Sheet:
    """Collects choices.

    Attributes:
        given: Settings that a person has made, by key; they are taken as they are.
        choices: So far, by key.

    Example:
        >>> sheet = Sheet({"training.epochs": 3})
        >>> sheet.choose("training.epochs", 50, "many cases")
        3
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.choices = {key: Choice(key, value, GIVEN) for key, value in self.given.items()} | self.choices

    def choose(self, key: str, value: Any, why: str) -> Any:
        """Choose a value, unless it is given; give the value that holds."""
        if key not in self.given:
            self.choices[key] = Choice(key, value, why)
        return self.choices[key].value

    def value(self, key: str) -> Any:
        """A value that was chosen before."""
        return self.choices[key].value

    def has(self, prefix: str) -> bool:
        """Whether a person has set this key, or one below it."""
        return any(key == prefix or key.startswith(f"{prefix}.") for key in self.given)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as a tree.

    Example:
        >>> nested({"training.optimizer.lr": 0.003, "training.epochs": 5})
        {'training': {'optimizer': {'lr': 0.003}, 'epochs': 5}}
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        node = tree
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree as keys with dots; a list is a value, and so is an empty mapping."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found
