"""The rules by which a threshold may be chosen, as text. It does without numpy, so that settings can check one at once."""

import math
import re
from dataclasses import dataclass

from medai.core.error import MedaiError

RULES = (
    "youden, accuracy, sensitivity=<0..1>, specificity=<0..1>, cost=<cost of a false positive:of a false negative>@<prevalence>, "
    "ppv=<0..1>@<prevalence>, or a number from 0 to 1"
)


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Attributes:
        name: ``youden``, ``accuracy``, ``sensitivity``, ``specificity``, ``cost``, ``ppv`` or ``number``.
        wanted: What is to be reached, or the number; for ``cost`` that of a false positive over that of a false negative.
        prevalence: Where the model is to be used, for ``cost`` and ``ppv``.
    """

    name: str
    wanted: float = 0.0
    prevalence: float = 0.0


def parse_rule(rule: str) -> Rule:
    """Read the text of a rule.

    Raises:
        MedaiError: it is none.

    Example:
        >>> parse_rule("cost=1:20@0.01")
        Rule(name='cost', wanted=0.05, prevalence=0.01)
    """
    name, _, rest = str(rule).partition("=")
    if name in ("youden", "accuracy") and not rest:
        return Rule(name)
    parsed = None
    if not rest and _number(name) is not None:
        parsed = Rule("number", float(name))
    elif name in ("sensitivity", "specificity") and _number(rest) is not None:
        parsed = Rule(name, float(rest))
    elif name in ("cost", "ppv"):
        parsed = _at_prevalence(name, rest)
    if parsed is None or not (parsed.name == "cost" or 0 <= parsed.wanted <= 1):
        raise MedaiError(f"unknown threshold rule {rule!r}; allowed: {RULES}")
    return parsed


def _at_prevalence(name: str, text: str) -> Rule | None:
    wanted, _, place = text.partition("@")
    prevalence = _number(place)
    if prevalence is None or not 0 < prevalence < 1:
        return None
    if name == "ppv":
        value = _number(wanted)
        return None if value is None else Rule(name, value, prevalence)
    false_positive, false_negative = (_number(part) for part in (*wanted.split(":"), "")[:2])
    if wanted.count(":") != 1 or not false_positive or not false_negative or min(false_positive, false_negative) < 0:
        return None
    return Rule(name, false_positive / false_negative, prevalence)


def _number(text: str) -> float | None:
    """A plain finite number, and not all that `float` takes (``nan``, ``1_000``)."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
