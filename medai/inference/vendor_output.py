"""From a stranger's raw outputs to probabilities, by its contract. What cannot be right is told in one line."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from medai.core.error import MedaiError
from medai.inference.candidate import Outputs
from medai.inference.contract import LabelSpec, VendorContract

ROUNDING = 1e-3  # of float16 models; a sum or a bound that is further away is no rounding
TINY = 1e-12  # a probability is kept so far from 0 and 1 where its logit is taken


def columns(raw: Shaped[np.ndarray, "..."], count: int, output: str) -> Float64[np.ndarray, "N W"]:
    """One output as (N, W): axes of length 1 behind the columns are dropped.

    Raises:
        MedaiError: a map or a volume, another number of images, or values that are not finite.
    """
    if not (isinstance(raw, np.ndarray) and np.issubdtype(raw.dtype, np.number)):
        raise MedaiError(f"output {output!r} is no tensor of numbers; name the one that holds scores (output.name)")
    values = np.asarray(raw, dtype=np.float64)
    if values.ndim == 0 or values.shape[0] != count:
        raise MedaiError(f"output {output!r} has shape {raw.shape} for {count} image(s); its first axis must be the images")
    values = values.reshape(count, values.shape[1] if values.ndim > 1 else 1, -1)
    if values.shape[2] != 1:
        raise MedaiError(f"output {output!r} has shape {raw.shape}, which is a map and no score; name the one with scores (output.name)")
    strange = ~np.isfinite(values).all(axis=(1, 2))
    if strange.any():
        what = f"output {output!r} is NaN or infinite for {int(strange.sum())} of {count} image(s)"
        raise MedaiError(f"{what}; look at input.intensity with dry_run=true")
    table: Float64[np.ndarray, "N W"] = values[:, :, 0]
    return table


def places(labels: Sequence[LabelSpec], width: int, output: str) -> dict[str, int]:
    """The first column of every label of one output.

    Args:
        labels: Those of this output, in the contract's order.
        width: How many columns the output has.
        output: Its name.

    Raises:
        MedaiError: the labels do not fill the output, leave it, or overlap.
    """
    given = [entry for entry in labels if entry.column is not None]
    widths = {entry.label.name: len(entry.order) for entry in labels}
    if given and len(given) != len(labels):
        missing = next(entry.label.name for entry in labels if entry.column is None)
        raise MedaiError(f"label {missing!r} has no column, and others of output {output!r} have; give all of them one")
    if not given:
        starts = np.cumsum([0, *widths.values()])
        if starts[-1] != width:
            raise MedaiError(_misfit(labels, widths, width, output))
        return dict(zip(widths, (int(start) for start in starts), strict=False))
    taken: dict[int, str] = {}
    for entry in given:
        name, start = entry.label.name, entry.column or 0
        for column in range(start, start + widths[name]):
            if column >= width:
                raise MedaiError(f"label {name!r} takes column {column}, and output {output!r} has the columns 0 to {width - 1}")
            if column in taken:
                raise MedaiError(f"labels {taken[column]!r} and {name!r} both take column {column} of output {output!r}")
            taken[column] = name
    return {entry.label.name: entry.column or 0 for entry in given}


def _misfit(labels: Sequence[LabelSpec], widths: Mapping[str, int], width: int, output: str) -> str:
    wanted = ", ".join(f"{name} {count}" for name, count in widths.items())
    what = f"output {output!r} has {width} column(s), and the labels need {sum(widths.values())} ({wanted})"
    only = labels[0]
    if len(labels) == 1 and only.label.kind == "binary" and {len(only.order), width} == {1, 2}:
        classes = list(only.label.classes)
        if width == 2:
            return f"{what}; where it holds both classes, give their order, e.g. order: [{classes[0]}, {classes[1]}], and softmax or none"
        return f"{what}; one column is the positive class alone: leave order out, and use sigmoid or none"
    return f"{what}; give every label its first column, counted from 0 (column: …)"


def read_outputs(raw: Mapping[str, Shaped[np.ndarray, "..."]], contract: VendorContract, count: int) -> Outputs:
    """Probability, logit and decision of a batch.

    Args:
        raw: The model's outputs by name, those that the contract names.
        contract: Where each label stands and what is still to be applied.
        count: Number of images.

    Raises:
        MedaiError: the outputs are not as the contract says.
    """
    tables = {name: columns(values, count, name) for name, values in raw.items()}
    starts: dict[str, int] = {}
    for name, table in tables.items():
        starts |= places([entry for entry in contract.labels if _output(entry, raw) == name], table.shape[1], name)
    probabilities, logits, decisions = [], [], []
    for entry in contract.labels:
        name, start = _output(entry, raw), starts[entry.label.name]
        probability, logit = _label(tables[name][:, start : start + len(entry.order)], entry, name)
        probabilities.append(probability)
        logits.append(logit)
        decisions.append(_decision(probability, contract.frozen.get(entry.label.name)))
    return Outputs(np.concatenate(probabilities, axis=1), np.concatenate(logits, axis=1), np.stack(decisions, axis=1))


def _output(entry: LabelSpec, raw: Mapping[str, object]) -> str:
    return next(iter(raw)) if entry.output is None else entry.output


def _decision(probability: Float64[np.ndarray, "N k"], threshold: float | None) -> Int64[np.ndarray, " N"]:
    chosen = probability.argmax(axis=1) if threshold is None else probability[:, 0] >= threshold
    decision: Int64[np.ndarray, " N"] = chosen.astype(np.int64)
    return decision


def _label(raw: Float64[np.ndarray, "N K"], entry: LabelSpec, output: str) -> tuple[Float64[np.ndarray, "N k"], Float64[np.ndarray, "N k"]]:
    """Probability and logit of one label: of the positive class, or of every class in the label's own order."""
    binary, classes = entry.label.kind == "binary", entry.label.classes
    if entry.activation == "none":
        raw = _checked(raw, entry, output)
        logit = np.log(np.clip(raw, TINY, 1)) if len(entry.order) > 1 else _log_odds(raw)
    else:
        logit = raw
    if len(entry.order) == 1:
        sign = 1.0 if entry.order[0] == classes[1] else -1.0
        return _sigmoid(sign * logit) if entry.activation != "none" else (raw if sign > 0 else 1 - raw), sign * logit
    at = [entry.order.index(name) for name in classes]
    if binary and entry.activation == "sigmoid":  # each column by itself: the positive one is meant
        return _sigmoid(logit[:, at[1:]]), logit[:, at[1:]]
    if binary:
        odds = logit[:, at[1:]] - logit[:, at[:1]]
        return (raw[:, at[1:]] if entry.activation == "none" else _sigmoid(odds)), odds
    ordered = logit[:, at]
    return (raw[:, at] if entry.activation == "none" else _softmax(ordered)), ordered


def _checked(raw: Float64[np.ndarray, "N K"], entry: LabelSpec, output: str) -> Float64[np.ndarray, "N K"]:
    """Probabilities that are some."""
    name, low, high = entry.label.name, float(raw.min()), float(raw.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        several = "softmax" if len(entry.order) > 1 else "sigmoid"
        what = f"output {output!r} gives values in [{low:.4g}, {high:.4g}] for {name!r}, which are no probabilities"
        if high <= ROUNDING and several == "softmax":
            raise MedaiError(f"{what}; these look like log probabilities: set activation: softmax, which takes them as they are")
        raise MedaiError(f"{what}: set activation: {several} where they are logits; percent and the like have to become probabilities")
    total = raw.sum(axis=1)
    if len(entry.order) > 1 and np.abs(total - 1).max() > ROUNDING:
        worst = float(total[np.abs(total - 1).argmax()])
        what = f"the {len(entry.order)} columns of {name!r} in output {output!r} add up to {worst:.4g} and not to 1"
        raise MedaiError(f"{what}; set activation: softmax where they are logits, and look at order and column")
    clipped: Float64[np.ndarray, "N K"] = np.clip(raw, 0, 1)
    return clipped


def _log_odds(probability: Float64[np.ndarray, "N K"]) -> Float64[np.ndarray, "N K"]:
    inner = np.clip(probability, TINY, 1 - TINY)
    odds: Float64[np.ndarray, "N K"] = np.log(inner) - np.log1p(-inner)
    return odds


def _sigmoid(logit: Float64[np.ndarray, "N K"]) -> Float64[np.ndarray, "N K"]:
    small = np.exp(-np.abs(logit))
    probability: Float64[np.ndarray, "N K"] = np.where(logit >= 0, 1.0, small) / (1 + small)
    return probability


def _softmax(logit: Float64[np.ndarray, "N K"]) -> Float64[np.ndarray, "N K"]:
    power = np.exp(logit - logit.max(axis=1, keepdims=True))
    probability: Float64[np.ndarray, "N K"] = power / power.sum(axis=1, keepdims=True)
    return probability
