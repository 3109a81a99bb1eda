"""The steps and their size, the augmentation, and what is done about imbalance and few validation cases."""

import math
import re
from typing import Any

from medai.planning.fingerprint import Fingerprint
from medai.planning.machine import Machine
from medai.planning.sheet import Sheet

STEPS_AT_ONE = 125  # optimiser steps = 125 * cases^0.4: 700 for 74 cases, 3,700 for 4,700, 12,500 for 100,000
GROWTH = 0.4
OF_STEPS_PRETRAINED = 0.5
EPOCHS = (5, 200)
FEW, MANY = 1_000, 20_000  # training cases: strong, medium and light augmentation
FEW_TO_JUDGE = 200  # validation cases of the rarest class: with fewer, a chosen threshold or epoch is largely chance
NEARLY_EQUAL = 1.25  # weight of the rarest class up to which nothing is done
LARGEST_WEIGHT = 10.0  # of a class; rarer ones are drawn more often instead
SIDES = re.compile(
    r"\b(left|right|sides?|sided|lateral\w*|unilateral\w*|situs|dextro\w*|sinist\w*|levo\w*|mirror\w*)\b|左|右|侧", re.IGNORECASE
)
ONE_SIDED_ORGANS = ("ABDOMEN", "HEART", "CARDIAC", "LIVER", "SPLEEN", "COLON", "STOMACH", "PANCREAS", "APPENDIX")


def choose_batch(sheet: Sheet, facts: Fingerprint, machine: Machine) -> int:
    """The largest power of two that leaves at least 16 steps an epoch, within bounds."""
    largest = 64 if facts.train < MANY else 256 if machine.device == "cuda" else 128
    fitting = max(1, facts.train // 16)
    size = min(largest, max(min(8, facts.train), 1 << (fitting.bit_length() - 1)))
    why = f"{facts.train:,} training cases give {facts.train // size} steps an epoch; 16 or more are wanted, with 8 to {largest} images"
    return int(sheet.choose("training.batch_size", size, why))


def wanted_steps(facts: Fingerprint, pretrained: bool) -> int:
    """Optimiser steps of the whole training."""
    return round(STEPS_AT_ONE * math.pow(facts.train, GROWTH) * (OF_STEPS_PRETRAINED if pretrained else 1))


def choose_epochs(sheet: Sheet, facts: Fingerprint, batch_size: int, pretrained: bool, affordable_images: float) -> int:
    """Epochs from the wanted steps, within the bounds and the budget; gives the steps."""
    wanted, per_epoch = wanted_steps(facts, pretrained), max(1, facts.train // batch_size)
    epochs = min(max(round(wanted / per_epoch), EPOCHS[0]), EPOCHS[1])
    affordable = max(1, int(affordable_images // (per_epoch * batch_size)))
    why = f"{facts.train:,} cases want about {wanted:,} steps, and an epoch has {per_epoch}" + (
        "; half as many as from random weights, since the network is pretrained" if pretrained else ""
    )  # fmt: skip
    if epochs in EPOCHS and epochs != round(wanted / per_epoch):
        why += f"; held within {EPOCHS[0]} to {EPOCHS[1]} epochs"
    if affordable < epochs:
        epochs, why = affordable, f"{why}, but the budget allows no more than {affordable} epochs"
    return int(sheet.choose("training.epochs", epochs, why)) * per_epoch


def choose_optimizer(sheet: Sheet, steps: int) -> None:
    """All of the optimiser but its learning rate."""
    given = str(sheet.given.get("training.optimizer._target_", "torch.optim.AdamW"))
    sheet.choose("training.optimizer._target_", given, "adapts to networks and losses of any scale")
    if given == "torch.optim.AdamW":
        why = "apart from the gradient, so stronger than the usual 0.01; biases and norms are left out"
        sheet.choose("training.optimizer.weight_decay", 0.05, why)
    why = f"up over a fifth and down over the rest of {steps:,} steps: the end of the schedule is its best point"
    sheet.choose("training.schedule", "one_cycle", why)
    sheet.choose("training.warmup", 0.2, "of the steps, for a high peak without divergence at the start")
    if not sheet.given.get("training.swa_start"):
        decay = min(max(round(1 - 7 / max(steps, 1), 4), 0.9), 0.9999)
        sheet.choose("training.ema_decay", decay, f"averages over about {1 / (1 - decay):.0f} of {steps:,} steps, a seventh")


def choose_augmentation(sheet: Sheet, facts: Fingerprint) -> bool:
    """The random transforms, and averaging over the mirror image; gives whether images may be mirrored."""
    mirror, side = may_mirror(facts)
    strength = "strong" if facts.train < FEW else "medium" if facts.train < MANY else "light"
    size = (int(sheet.value("preprocessing.height")), int(sheet.value("preprocessing.width")))
    why = f"{strength}, for {facts.train:,} training cases ({FEW:,} and {MANY:,} are the borders)"
    why += "; contrast hardly changed, since HU are absolute" if facts.values.kind == "hu" else ""
    why += f"; {'mirrored' if mirror else 'not mirrored'}: {side}"
    sheet.choose("augmentation.transforms", transforms(strength, mirror, facts, size), why)
    if sheet.has("augmentation.transforms"):
        mirror = "Flip" in str(sheet.value("augmentation.transforms"))
        side = "as the given transforms do" if mirror else "the given transforms do not mirror"
    why = "the mean of an image and its mirror errs less, at twice the cost of an answer" if mirror else f"no mirror: {side}"
    sheet.choose("training.flip_average", mirror, why)
    return mirror


def transforms(strength: str, mirror: bool, facts: Fingerprint, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The list for `augmentation.transforms`."""
    turn, scale, shift = {"strong": (0.35, 0.2, 0.12), "medium": (0.26, 0.15, 0.1), "light": (0.17, 0.1, 0.06)}[strength]
    gamma, factor, noise = ([0.8, 1.25], 0.1, 0.02) if strength == "light" else ([0.7, 1.5], 0.2, 0.05)
    found: list[dict[str, Any]] = [{"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1}] if mirror else []
    found.append({
        "_target_": "monai.transforms.RandAffine", "prob": 0.8, "rotate_range": turn, "scale_range": [scale, scale],
        "translate_range": [round(shift * side, 1) for side in size], "mode": "bilinear", "padding_mode": "border",
    })  # fmt: skip
    if facts.values.kind == "hu":
        factor, noise = 0.05, 0.02
    else:
        found.append({"_target_": "monai.transforms.RandAdjustContrast", "prob": 0.5, "gamma": gamma})
    found.append({"_target_": "monai.transforms.RandScaleIntensity", "prob": 0.5, "factors": factor})
    found.append({"_target_": "monai.transforms.RandGaussianNoise", "prob": 0.3, "std": noise})
    return found


def may_mirror(facts: Fingerprint) -> tuple[bool, str]:
    """Whether left and right may be exchanged: not where anything speaks of sides."""
    for label in facts.labels:
        for text in (label.name.replace("_", " "), *label.train, label.meaning):
            if word := SIDES.search(text):
                return False, f"label {label.name!r} speaks of sides ({word[0]!r})"
    parts = [part for part in facts.body_parts if part.upper() in ONE_SIDED_ORGANS]
    if parts:
        return False, f"body part {parts[0]} ({facts.body_parts[parts[0]]:,} images) is not the same on both sides"
    sided = f"; {facts.sided:.0%} of the images show a left or right part, whose mirror is the other one" if facts.sided else ""
    return True, f"no label speaks of sides{sided}"


def choose_imbalance(sheet: Sheet, facts: Fingerprint) -> None:
    """Class weights or sampling, label smoothing, uncertain labels."""
    label, name, count, share = facts.rarest
    rare = f"the rarest class, {name!r} of {label.name}, has {count:,} training cases ({share:.1%})"
    weight = 1 / (len(label.train) * share) if share else float("inf")
    if len(facts.labels) > 1:
        several = f"{len(facts.labels)} labels at once: a case that is rare in one is common in the others"
        weights, sampling, why = "none", "none", f"{several}; {rare}"
    elif weight <= NEARLY_EQUAL:
        weights, sampling, why = "none", "none", f"the classes are nearly equal: {rare}"
    elif weight <= LARGEST_WEIGHT:
        weights, sampling, why = "balanced", "none", f"{rare}, so its cases weigh {weight:.1f} times as much"
    else:
        why = f"{rare}: with a weight of {weight:.0f} single cases would decide whole steps, so they are drawn more often instead"
        weights, sampling = "none", "balanced"
    sheet.choose("training.class_weights", weights, why)
    sheet.choose("training.sampling", sampling, why if sampling != "none" else "every case once an epoch")
    _choose_smoothing(sheet, facts, share)
    _choose_uncertain(sheet, facts)


def _choose_smoothing(sheet: Sheet, facts: Fingerprint, share: float) -> None:
    if len(facts.labels) > 1 or share < 0.05:
        sheet.choose("training.label_smoothing", 0.0, f"the rarest class has {share:.1%}: smoothed targets would hide it")
    elif facts.labels[0].kind == "ordinal":
        sheet.choose("training.label_smoothing", 0.05, "half of the usual 0.1: it spreads over all grades, near or far")
    else:
        sheet.choose("training.label_smoothing", 0.1, f"labels of images have errors; the rarest class has {share:.1%}, so none is hidden")


def _choose_uncertain(sheet: Sheet, facts: Fingerprint) -> None:
    label = max(facts.labels, key=lambda label: label.uncertain)
    if label.uncertain:
        policy = "soft" if label.uncertain >= 0.05 else "ignore"
        meaning = "too many to leave out" if policy == "soft" else "few, so they are left out"
        sheet.choose("training.uncertain", policy, f"{label.name} is uncertain in {label.uncertain:.1%} of the training cases: {meaning}")


def choose_judgement(sheet: Sheet, facts: Fingerprint) -> None:
    """What chooses the epoch and the operating point: validation, where it is large enough to tell."""
    label = min(facts.labels, key=lambda label: min(label.validation.values()))
    name = min(label.validation, key=lambda key: (label.validation[key], key))
    fewest = label.validation[name]
    few = fewest < FEW_TO_JUDGE
    judges = f"{facts.validation:,} validation cases, {fewest:,} of them {name!r}"
    last = f"one cycle ends at its best, and {judges} cannot tell two late epochs apart"
    sheet.choose("training.monitor", "last" if few else "auroc", last if few else f"{judges} are enough to tell epochs apart")
    sheet.choose("training.patience", None, "a schedule that is cut short misses its best part")
    if any(label.kind == "binary" for label in facts.labels):
        fair = few and _even(sheet, facts)
        error = f"a rate on {fewest:,} cases of {name!r} has a standard error of up to {0.5 / max(fewest, 1) ** 0.5:.1%}"
        why = f"the classes count alike in the training, so both errors cost the same at 0.5; {error}, too much to choose by"
        chosen = f"chosen on {judges}: best sum of sensitivity and specificity"
        sheet.choose("training.threshold", "0.5" if fair else "youden", why if fair else chosen)


def _even(sheet: Sheet, facts: Fingerprint) -> bool:
    """Whether all classes count about alike in the training, so that 0.5 is a fair threshold."""
    label, _, _, share = facts.rarest
    made = "balanced" in (sheet.value("training.class_weights"), sheet.value("training.sampling"))
    return made or NEARLY_EQUAL * len(label.train) * share >= 1
