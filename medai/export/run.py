"""From a run to a package: gather what the run knows, prove the graph on its validation split, write."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Shaped

from medai.cohort.cohort import Cohort
from medai.cohort.find import find_cohort
from medai.cohort.fold import validation_cases
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.core.label import Label, slices_of
from medai.core.progress import say, track
from medai.device.contract import InputContract, contrast
from medai.evaluation.auroc import auroc
from medai.export.export import export_package
from medai.export.parity import ParityTable
from medai.export.record import INTENDED_USE, PackageInput
from medai.export.settings import ExportSettings
from medai.export.write import zip_package
from medai.ingest.view import ensure_view
from medai.store.shard import NativePixels
from medai.training.checkpoint import Checkpoint, threshold_source

RANGE_MARGIN = 0.25  # of the development images' range of values, on either side
CONTRAST_SHARE = 0.1  # of the smallest contrast among the validation images


def export_candidate(settings: ExportSettings) -> Path:
    """Export a run or a checkpoint.

    Returns:
        The package's directory.

    Raises:
        MedaiError: its cohort is not here, or ONNX and torch differ.
    """
    source = Path(settings.candidate)
    checkpoint = Checkpoint.load(source)
    recorded = checkpoint.record["cohort"]
    cohort = find_cohort(recorded["hash"], recorded["name"], recorded.get("path"), Path(settings.cohorts))
    cases = validation_cases(cohort, checkpoint.record)
    output = Path(settings.output) if settings.output else source / "package"
    say(f"Exporting {source}: ONNX graph, then parity on {len(cases)} validation images")
    result = export_package(
        checkpoint.predictor(), output,
        record=_package_input(settings, source, checkpoint, cohort, cases),
        parity_images=track(_images(cohort, cases), "Compare", len(cases), "images"),
        further_parity=_against_view(checkpoint, cohort, cases, settings.workers),
        replace=True, opset=settings.opset, ir_version=settings.ir_version,
    )  # fmt: skip
    parity = result.parity
    say(
        f"ONNX against torch on {parity.cases} images: largest probability difference {parity.max_probability_difference:.1e} "
        f"(allowed {parity.limit:g}), {parity.decision_flips} decisions flipped"
    )
    if settings.zip:
        zip_package(output)
    return output


def _package_input(settings: ExportSettings, source: Path, checkpoint: Checkpoint, cohort: Cohort, cases: pl.DataFrame) -> PackageInput:
    record = checkpoint.record
    network = str(checkpoint.model.get("_target_", "model")).rsplit(".", 1)[-1]
    frozen = record["thresholds"]
    return PackageInput(
        name=f"{cohort.name}-{network}",
        labels=checkpoint.labels,
        contract=_contract(checkpoint, cohort, cases),
        thresholds=checkpoint.thresholds,
        threshold_source=threshold_source(frozen, cohort.name),
        calibration=record.get("calibration", {})
        | {"temperatures": checkpoint.temperatures}
        | ({"calibrators": {name: one.to_dict() for name, one in checkpoint.calibrators.items()}} if checkpoint.calibrators else {}),
        preprocessing=checkpoint.plan.to_dict() | {"test_time": list(checkpoint.variants)},
        hashes={"cohort": cohort.hash, "checkpoint": checkpoint.hash, "code": record.get("commit", "")},
        versions=versions(),
        intended_use=settings.intended_use or INTENDED_USE,
        measured=_measured(source, checkpoint),
        data={key: cohort.meta.get(key) for key in ("name", "description", "licence", "url", "counts") if cohort.meta.get(key)}
        | {"seen": "development" if checkpoint.cross_validated else "train"},
    )


def _contract(checkpoint: Checkpoint, cohort: Cohort, cases: pl.DataFrame) -> InputContract:
    """What the model accepts: images like those that it was developed on."""
    known = checkpoint.record["input"]
    margin = RANGE_MARGIN * max(known["pixel_max"] - known["pixel_min"], 1e-6)
    smallest = min(contrast(image.astype(np.float32)) for _, image in _images(cohort, cases))
    channels = checkpoint.plan.resize.channels
    return InputContract(
        channels, known["pixel_min"] - margin, known["pixel_max"] + margin, CONTRAST_SHARE * smallest, tuple(known["modality"]),
        tuple(known["body_part"]), colour_to_grey=channels == 1 and 3 in known["channels"],
    )  # fmt: skip


def _images(cohort: Cohort, cases: pl.DataFrame) -> Iterator[tuple[str, Shaped[np.ndarray, "C H W"]]]:
    store = NativePixels(cohort.path)
    for case_id, *place in cases.select("case_id", "shard", "offset", "length").iter_rows():
        yield case_id, store.read(*place)


def _measured(source: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """The figures on validation, and those of evaluations of this very checkpoint that lie beside it."""
    measured: dict[str, Any] = {"validation": checkpoint.record["validation"]}
    for path in sorted(source.glob("evaluation/*/metrics.json")):
        metrics = read_json(path)
        if metrics.get("candidate", {}).get("hash") == checkpoint.hash:
            measured[path.parent.name] = metrics
    return measured


def _against_view(checkpoint: Checkpoint, cohort: Cohort, cases: pl.DataFrame, workers: int) -> Callable[[ParityTable], Mapping[str, Any]]:
    """Compare the graph on native pixels with torch on the view, whose values are rounded: AUROC and decisions."""

    def compare(table: ParityTable) -> dict[str, Any]:
        if list(table.case_ids) != cases["case_id"].to_list():
            raise MedaiError("the cases of the parity check are not those of the validation split")
        view = ensure_view(cohort, checkpoint.plan.resize, workers)
        predictor, ordinals = checkpoint.predictor(), cases["ordinal"].to_numpy()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(ordinals), 64):
                values = view.encoding.decode(view.gather(ordinals[start : start + 64]))
                parts.append(predictor.from_resized(torch.from_numpy(values)))
        probability = torch.cat([part[0] for part in parts]).numpy()
        decision = torch.cat([part[2] for part in parts]).numpy()
        return {
            "view": {
                "reference": "torch on the training view (resized values rounded to integers)",
                "max_probability_difference": float(np.abs(probability - table.onnx.probability).max()),
                "decision_flips": int((decision != table.onnx.decision).sum()),
                "auroc_difference": _auroc_differences(checkpoint.labels, cases, table.onnx.probability, probability),
            }
        }

    return compare


def _auroc_differences(
    labels: tuple[Label, ...], cases: pl.DataFrame, native: Float[np.ndarray, "N P"], view: Float[np.ndarray, "N P"]
) -> dict[str, float]:
    """AUROC on native pixels minus AUROC on the view, for each binary label with both classes."""
    differences = {}
    for label in labels:
        known = cases[label.name].is_not_null().to_numpy()
        positive = cases[label.name].fill_null(0).to_numpy()[known] == 1
        if label.kind == "binary" and positive.any() and not positive.all():
            column = slices_of(labels)[label.name].start
            areas = [auroc(scores[known, column].astype(np.float64), positive).value for scores in (native, view)]
            differences[label.name] = float(areas[0] - areas[1])
    return differences
