"""What is asked of a comparison, checked: names, thresholds, margin."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from medai.core.error import MedaiError
from medai.evaluation.comparison.metric import metrics_of, named_for
from medai.evaluation.comparison.shared import Shared

FEW_REPLICATES = 200  # fewer leave less than five beyond each end of a 95 % interval
Thresholds = Mapping[str, float | Mapping[str, float]]  # by label, or by model and then label


def check_settings(
    tables: Mapping[str, pl.DataFrame], reference: str | None, margin: float | None, confidence: float, replicates: int, swaps: int
) -> None:
    """Refuse settings that make no sense, before anything is computed; arguments as of `compare_tables`."""
    if reference is not None and reference not in tables:
        raise MedaiError(f"the reference {reference!r} is none of the models: {', '.join(tables)}")
    if margin is not None and reference is None:
        raise MedaiError("a margin needs a reference that the models are compared with; name one")
    if margin is not None and not 0 < margin < 1:
        raise MedaiError(f"the margin of non-inferiority is {margin}; expected a difference above 0 and below 1, e.g. 0.05")
    if not 0 < confidence < 1:
        raise MedaiError(f"the confidence is {confidence}; expected a number between 0 and 1, e.g. 0.95")
    if replicates < 0:
        raise MedaiError(f"the number of replicates is {replicates}; expected 0 or more, e.g. 2000")
    if swaps < 0:
        raise MedaiError(f"the number of permutations is {swaps}; expected 0 or more, e.g. 2000")


def few_replicates(replicates: int) -> list[str]:
    """A line where the bootstrap draws so seldom that its intervals depend on the seed; else none."""
    if not 0 < replicates < FEW_REPLICATES:
        return []
    what = f"The bootstrap has {replicates:,} replicate{'' if replicates == 1 else 's'}"
    return [f"{what}: below {FEW_REPLICATES} the ends of its intervals are mostly chance; 2,000 are usual."]


def frozen_thresholds(shared: Shared, given: Thresholds) -> dict[str, dict[str, float]]:
    """The thresholds by label, then model; a label for which a model has none is left out.

    Raises:
        MedaiError: a name is unknown, or a threshold lies outside [0, 1].
    """
    binary = [name for name, data in shared.data.items() if next(iter(data.values())).label.kind == "binary"]
    of_model = {model: value for model, value in given.items() if isinstance(value, Mapping)}
    known = {*binary, *shared.labels_left_out}
    for model in of_model:
        if model not in shared.models:
            raise MedaiError(f"there are thresholds of a model {model!r}; the models are {', '.join(shared.models)}")
    named = [name for name in given if name not in of_model] + [label for each in of_model.values() for label in each]
    for label in named:
        if label not in known:
            raise MedaiError(f"there is a threshold of {label!r}, which is no binary label; there are: {', '.join(binary) or 'none'}")
    frozen: dict[str, dict[str, float]] = {}
    for label in binary:
        found = {model: of_model.get(model, {}).get(label, given.get(label)) for model in shared.models}
        for model, value in found.items():
            if isinstance(value, int | float) and not 0 <= value <= 1:
                raise MedaiError(f"the threshold of {label!r} of model {model!r} is {value}; expected a probability from 0 to 1")
        numbers = {model: float(value) for model, value in found.items() if isinstance(value, int | float)}
        if len(numbers) == len(found):
            frozen[label] = numbers
    return frozen


def check_metric(shared: Shared, thresholds: Mapping[str, Any], metric: str) -> None:
    """Refuse a primary metric that no label has."""
    allowed: list[str] = []
    for name, data in shared.data.items():
        kind = next(iter(data.values())).label.kind
        names = metrics_of(kind, thresholds=name in thresholds)
        if named_for(metric, kind) in names:
            return
        allowed += [name for name in names if name not in allowed]
    told = " (sensitivity, specificity and accuracy need the threshold of each model)" if not thresholds else ""
    raise MedaiError(f"the metric {metric!r} cannot be compared; there are: {', '.join(allowed)}{told}")
