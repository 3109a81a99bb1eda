"""Several trained models as one checkpoint: members of one split with different seeds, or the folds of a cross-validation.

Nothing is trained. What has to be frozen anew, one temperature and the thresholds, rests on cases that no member was
trained on: the validation split that all members share, or, where the members are the folds of a cross-validation, all
development cases, each predicted by the members that had held it out.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float32, Int64

from medai.cohort.cohort import Cohort
from medai.cohort.find import find_cohort
from medai.cohort.fold import recorded_fold
from medai.core.environment import commit, hardware, versions
from medai.core.error import MedaiError
from medai.core.file import atomic_directory, write_json
from medai.core.progress import say, track
from medai.evaluation.headline import headline_of
from medai.ingest.view import ensure_view
from medai.store.view import View
from medai.task.task import UNKNOWN
from medai.training.checkpoint import ENSEMBLE, Checkpoint
from medai.training.predictor import Ensemble
from medai.training.report import main_figures, name_checkpoint, validation_report
from medai.training.validation import freeze

BATCH = 64  # images
OUT_OF_FOLD = (
    "Each case was predicted by the members that had not trained on it, not by the ensemble, which is expected to do at least as well. "
    "The members' epochs and temperatures were chosen on the cases that they held out, and the thresholds on all of them: "
    "in this the figures are a little optimistic. The intervals do not hold what another training would change."
)


@dataclass(frozen=True)
class HeldOut:
    """The cases that an ensemble is judged on.

    Attributes:
        cases: Development cases, in the stored order.
        by: Which member (row) was not trained on which of them.
        part: What they are, in words.
    """

    cases: pl.DataFrame
    by: Bool[np.ndarray, "M n"]
    part: str

    @property
    def out_of_fold(self) -> bool:
        """Whether the members held out different cases."""
        return not self.by.all()


def ensemble(runs: Sequence[Path], output: Path, cohorts: Path = Path("cohorts"), workers: int = 2) -> Path:
    """Make one model of several.

    Args:
        runs: Runs or checkpoints of the same labels, preprocessing and cohort.
        output: The folder to make, like a run's: `checkpoint/`, `validation/` and `run.json`.
        cohorts: Folder of the cohorts.
        workers: Processes that make the view, where it is not there.

    Returns:
        `output`.

    Raises:
        MedaiError: the members do not fit together, a fold is missing, or `output` holds other things.
    """
    members = [Checkpoint.load(run) for run in runs]
    _check_members(runs, members)
    known = members[0].record["cohort"]
    cohort = find_cohort(known["hash"], known["name"], known.get("path"), cohorts)
    held_out = _held_out(cohort, members)
    with atomic_directory(output) as folder:
        logit = _logits(members, ensure_view(cohort, members[0].plan.resize, workers), held_out)
        checkpoint = combine(members)
        checkpoint.record = _record(runs, members, cohort, checkpoint)
        figures = _freeze(checkpoint, cohort, held_out, logit, members[0].record, folder)
        checkpoint.save(folder / "checkpoint")
        digest = Checkpoint.load(folder).hash
        name_checkpoint(folder / "validation", digest)
        facts = {"cohort": str(cohort.path), "cohort_hash": cohort.hash, "checkpoint_hash": digest}
        write_json(folder / "run.json", {"status": "finished"} | facts | {"validation": figures, "members": [str(run) for run in runs]})
    say(summary(checkpoint))
    return output


def combine(members: Sequence[Checkpoint]) -> Checkpoint:
    """The checkpoint of several: their networks, heads, variants and temperatures; calibration and thresholds are not frozen yet."""
    nodes = [
        {"model": each.model, "test_time": list(each.variants), "temperatures": each.temperatures}
        | ({"calibrators": {name: one.to_dict() for name, one in each.calibrators.items()}} if each.calibrators else {})
        for each in members
    ]
    checkpoint = Checkpoint.fresh(members[0].labels, members[0].plan, {"_target_": ENSEMBLE, "members": nodes})
    network = checkpoint.classifier.network
    assert isinstance(network, Ensemble)
    for own, member in zip(network.members, members, strict=True):
        own.load_state_dict(member.classifier.state_dict())
    return checkpoint


def summary(checkpoint: Checkpoint) -> str:
    """The members with their own figures, and those of the ensemble, or of its cross-validation, with intervals."""
    lines = []
    for member in checkpoint.record["members"]:
        fold = f", fold {member['fold']['fold']} of {member['fold']['folds']}" if member["fold"] else ""
        areas = [f"{name} {value:.3f}" for name, value in member["validation"].items() if name.endswith("auroc")]
        lines.append(f"{member['name']}: seed {member['seed']}{fold}; {', '.join(areas)}")
    thresholds = checkpoint.record["thresholds"]
    return "\n".join([*lines, f"{thresholds['part']}:", headline_of(checkpoint.record["validation"])])


def _check_members(runs: Sequence[Path], members: Sequence[Checkpoint]) -> None:
    """Refuse members that are not models of one thing."""
    if len(members) < 2:
        raise MedaiError("an ensemble needs at least two members; name several runs")
    first = members[0]
    for place, (run, member) in enumerate(zip(runs, members, strict=True)):
        if member.members:
            raise MedaiError(f"{run} is an ensemble itself; name its members")
        if member.hash in [other.hash for other in members[:place]]:
            raise MedaiError(f"{run} has the weights of another member; name each run once")
        for what, own, other in (
            ("labels", [label.to_dict() for label in member.labels], [label.to_dict() for label in first.labels]),
            ("preprocessing", member.plan.to_dict(), first.plan.to_dict()),
            ("cohort", member.record["cohort"]["hash"], first.record["cohort"]["hash"]),
            ("rule of the thresholds", member.record["thresholds"]["rule"], first.record["thresholds"]["rule"]),
            ("calibration", member.record["calibration"]["method"], first.record["calibration"]["method"]),
        ):
            if own != other:
                raise MedaiError(f"{run} and {runs[0]} differ in {what}: {own} and {other}; members of an ensemble have them in common")


def _held_out(cohort: Cohort, members: Sequence[Checkpoint]) -> HeldOut:
    """The cases to judge by, and who may be asked about them."""
    folds = [member.record["fold"] for member in members if member.record.get("fold")]
    if not folds:
        cases = cohort.select("validation")
        return HeldOut(cases, np.ones((len(members), len(cases)), dtype=bool), "validation split")
    if len(folds) < len(members):
        raise MedaiError("some members are folds of a cross-validation and some are not: for them, no cases are left that none has seen")
    _check_folds(folds)
    seen = [recorded_fold(cohort, fold)["split"] for fold in folds]
    by = np.stack([(split == "validation").fill_null(False).to_numpy() for split in seen])
    return HeldOut(cohort.select("development").with_columns(split=pl.lit("development")), by, "out-of-fold predictions")


def _check_folds(folds: Sequence[dict[str, Any]]) -> None:
    """Refuse all but whole cross-validations, in which each case is held out equally often."""
    kinds = defaultdict(list)
    for fold in folds:
        kinds[fold["folds"], fold["seed"]].append(fold["fold"])
    for (count, seed), numbers in kinds.items():
        often = np.bincount(numbers, minlength=count)
        if often.min() < often.max():
            few = ", ".join(str(number) for number in np.flatnonzero(often < often.max()))
            raise MedaiError(f"fold {few} of the {count} folds with seed {seed} is missing; every fold is needed, and each equally often")


def _logits(members: Sequence[Checkpoint], view: View, held_out: HeldOut) -> Float32[np.ndarray, "n P"]:
    """The mean calibrated logits of each case over the members that held it out: of all members, that is what `Ensemble` computes."""
    ordinals = held_out.cases["ordinal"].to_numpy().astype(np.int64)
    total = np.zeros((len(ordinals), sum(len(label.columns) for label in members[0].labels)), dtype=np.float64)
    for member, rows in zip(track(members, "Predict", len(members), "members"), held_out.by, strict=True):
        total[rows] += _predict(member, view, ordinals[rows])
    mean: Float32[np.ndarray, "n P"] = (total / held_out.by.sum(axis=0)[:, None]).astype(np.float32)
    return mean


def _predict(member: Checkpoint, view: View, ordinals: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n P"]:
    """Calibrated logits from the view, in 32 bits."""
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor, parts = member.predictor().to(device), []
    with torch.inference_mode():
        for start in range(0, len(ordinals), BATCH):
            pixels = torch.from_numpy(view.encoding.decode(view.gather(ordinals[start : start + BATCH])))
            parts.append(predictor.from_resized(pixels.to(device))[1].cpu())
    predictor.cpu()
    return torch.cat(parts).numpy()


def _record(runs: Sequence[Path], members: Sequence[Checkpoint], cohort: Cohort, checkpoint: Checkpoint) -> dict[str, Any]:
    own = [
        {
            "name": run.resolve().name,
            "hash": member.hash,
            "network": str(member.model.get("_target_", "")),
            "seed": member.record.get("seed"),
            "epoch": member.record.get("epoch"),
            "fold": member.record.get("fold"),
            "commit": member.record.get("commit"),
            "validation": main_figures(member.record["validation"]),
        }
        for run, member in zip(runs, members, strict=True)
    ]
    return {
        "cohort": members[0].record["cohort"] | {"path": str(cohort.path.resolve())},
        "input": members[0].record["input"],
        "members": own,
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "allow": sorted({name for member in members for name in member.record.get("allow", ())}),
        "parameters": sum(parameter.numel() for parameter in checkpoint.classifier.parameters()),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _freeze(
    checkpoint: Checkpoint, cohort: Cohort, held_out: HeldOut, logit: Float32[np.ndarray, "n P"], chosen: dict[str, Any], folder: Path
) -> dict[str, float]:
    """Fit the calibration and choose the thresholds by the members' rule, and write the report."""
    method, rule = chosen["calibration"]["method"], chosen["thresholds"]["rule"]
    target = [held_out.cases[label.name].cast(pl.Int64).fill_null(UNKNOWN).to_numpy() for label in checkpoint.labels]
    frozen = freeze(checkpoint.labels, logit, np.stack(target, axis=1), method, rule)
    checkpoint.temperatures, checkpoint.thresholds, checkpoint.calibrators = frozen.temperatures, frozen.thresholds, frozen.calibrators
    on: dict[str, Any] = {"part": held_out.part, "split": "development" if held_out.out_of_fold else "validation"}
    on |= {"cases": len(held_out.cases), "assumed": list(frozen.assumed)}
    checkpoint.record |= {"thresholds": {"rule": rule} | on, "calibration": {"method": method} | on}
    if held_out.out_of_fold:
        checkpoint.record["note"] = OUT_OF_FOLD
    with torch.inference_mode():
        probability, calibrated, _ = (output.numpy() for output in checkpoint.predictor().decide(torch.from_numpy(logit)))
    figures, checkpoint.record["validation"] = validation_report(
        cohort, checkpoint, probability, calibrated, folder / "validation", held_out.cases
    )
    return figures
