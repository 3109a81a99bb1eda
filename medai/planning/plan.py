"""Draw up a plan: every choice in its order, from the fingerprint, the machine and what a person has set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medai.planning.fingerprint import Fingerprint
from medai.planning.machine import Machine, Stopwatch
from medai.planning.network import Training, choose_network, rounded
from medai.planning.option import GROUPS
from medai.planning.recipe import (
    choose_augmentation,
    choose_batch,
    choose_epochs,
    choose_imbalance,
    choose_judgement,
    choose_optimizer,
    wanted_steps,
)
from medai.planning.sheet import Choice, Sheet
from medai.planning.size import choose_channels, choose_intensity
from medai.training.range_test import RangeTest

RATE = "training.optimizer.lr"
RATES = (1e-4, 1e-2)  # between which AdamW's peak is taken, whatever a noisy range test suggests
FALLBACK_RATE, FALLBACK_PRETRAINED = 2e-3, 5e-4
FEWEST_VALIDATION = 50  # of the rarest class


@dataclass(frozen=True)
class Plan:
    """A recipe for one cohort on one kind of machine, with the reason for each choice.

    Attributes:
        choices: By group, in the order in which they were made.
        facts: What they rest on.
        machine: Likewise.
        minutes: Estimated time of the training.
        notes: What the user should know before believing the figures.
        range_test: Of the learning rate, where one was done.
    """

    choices: tuple[Choice, ...]
    facts: Fingerprint
    machine: Machine
    minutes: float
    notes: tuple[str, ...]
    range_test: RangeTest | None = None

    @property
    def values(self) -> dict[str, Any]:
        """Key to value."""
        return {choice.key: choice.value for choice in self.choices}


def draw_up(
    facts: Fingerprint,
    machine: Machine,
    stopwatch: Stopwatch,
    *,
    given: Mapping[str, Any] | None = None,
    budget_minutes: float = 60.0,
    pretrained: bool = False,
    test_rates: Callable[[Mapping[str, Any]], RangeTest] | None = None,
) -> Plan:
    """Draw up a plan.

    Args:
        facts: See `medai.planning.fingerprint`.
        machine: That will train.
        stopwatch: Times networks on it.
        given: What a person has set, by key; it is kept, and the other choices are made to go with it.
        budget_minutes: For the training.
        pretrained: Whether weights are at hand.
        test_rates: A range test with the values of the plan so far; without one, the learning rate is a usual one.

    Example:
        >>> plan = draw_up(fingerprint(cohort), Machine.here(), measure)
        >>> plan.values["preprocessing.height"]
        224
    """
    sheet = Sheet(dict(given or {}))
    channels = choose_channels(sheet, facts)
    choose_intensity(sheet, facts)
    batch_size = choose_batch(sheet, facts, machine)
    epochs = sheet.given.get("training.epochs")
    scratch, tuned = (int(epochs) * facts.train if epochs else wanted_steps(facts, start) * batch_size for start in (False, True))
    training = Training(scratch, tuned, batch_size, _outputs(facts), channels, budget_minutes)
    candidate, speed = choose_network(sheet, facts, machine, training, stopwatch, pretrained and not sheet.has("pretrained"))
    steps = choose_epochs(sheet, facts, batch_size, candidate.pretrained, training.affordable(speed))
    choose_optimizer(sheet, steps)
    choose_augmentation(sheet, facts)
    choose_imbalance(sheet, facts)
    choose_judgement(sheet, facts)
    tested = _choose_rate(sheet, candidate.pretrained, test_rates)
    minutes = training.minutes(candidate, speed) * steps * batch_size / (tuned if candidate.pretrained else scratch)
    choices = sorted(sheet.choices.values(), key=lambda choice: GROUPS.index(choice.key.partition(".")[0]))
    return Plan(tuple(choices), facts, machine, minutes, notes(facts), tested)


def _outputs(facts: Fingerprint) -> int:
    return sum(1 if label.kind in ("binary", "ordinal") else len(label.train) for label in facts.labels)


def _choose_rate(sheet: Sheet, pretrained: bool, test_rates: Callable[[Mapping[str, Any]], RangeTest] | None) -> RangeTest | None:
    usual = FALLBACK_PRETRAINED if pretrained else FALLBACK_RATE
    if RATE in sheet.given or test_rates is None:
        sheet.choose(RATE, usual, f"usual for AdamW from {'pretrained' if pretrained else 'random'} weights; no range test was done")
        return None
    tested = test_rates({key: choice.value for key, choice in sheet.choices.items()})
    low, high = RATES if sheet.value("training.optimizer._target_") == "torch.optim.AdamW" else (0.0, float("inf"))
    found = tested.suggestion(str(sheet.value("training.schedule")))
    rate = float(f"{min(max(found, low), high):.1e}")
    why = f"{tested.words} (Smith 2017)" + (f"; held within {low:g} to {high:g}" if not low <= found <= high else "")
    sheet.choose(RATE, rate, why)
    return tested


def notes(facts: Fingerprint) -> tuple[str, ...]:
    """What the user should know before believing the figures."""
    found = []
    if facts.patients is None:
        found.append("Some patients are unknown: images of one patient may lie in training and in validation, and the figures be too good.")
    elif facts.patients < facts.train:
        found.append(f"{facts.train:,} training cases are of {facts.patients:,} patients; the split keeps each patient on one side.")
    for label in facts.labels:
        rarest = min(label.validation, key=lambda key: (label.validation[key], key))
        if label.validation[rarest] < FEWEST_VALIDATION:
            count = f"{label.validation[rarest]:,} validation cases of {rarest!r} ({label.name})"
            found.append(f"{count} are few: read the intervals, and think of a cross-validation (fold=0 … 4).")
        if label.unknown:
            found.append(f"{label.name} is unknown for {label.unknown:.1%} of the training cases; they take no part in its loss.")
    found += [f"{count:,} development cases are left out: {reason}." for reason, count in facts.excluded.items()]
    return tuple(found)


def summary(plan: Plan) -> str:
    """One line about a plan."""
    values = plan.values
    size = f"{values['preprocessing.height']} x {values['preprocessing.width']}"
    network = str(values["model._target_"]).rsplit(".", 1)[-1]
    recipe = f"{values['training.epochs']} epochs of batches of {values['training.batch_size']}, peak learning rate {values[RATE]:g}"
    return f"{plan.facts.cohort}: {network} at {size} pixels, {recipe}; about {rounded(plan.minutes)} min on {plan.machine.words}"
