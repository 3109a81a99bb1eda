"""What a training is made of: cohort, view, splits, loss and network, from its settings. The test split is never opened here."""

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int64

from medai.audit.gate import check_audited
from medai.augmentation.mix import Mix
from medai.cohort.cohort import Cohort
from medai.cohort.fold import cross_validation
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.model.checkpointing import enable_checkpointing
from medai.model.layout import takes_channels_last
from medai.model.pretrained import LoadedWeights, load_pretrained
from medai.preprocessing.plan import PreprocessingPlan, ResizePlan
from medai.source.build import build_source
from medai.store.view import View
from medai.task.loss import build_case_loss
from medai.task.sampling import sampling_weights
from medai.task.target import UNKNOWN
from medai.task.task import Loss, balanced_weights
from medai.training.checkpoint import Checkpoint
from medai.training.data import EpochBatches, Images
from medai.training.distributed import ALONE, Group
from medai.training.prepare import Prepare, choose_augmentation
from medai.training.settings import TrainSettings
from medai.training.test_time import variants_of


@dataclass(frozen=True)
class Material:
    """What a training is made of.

    Attributes:
        cohort: Where the cases are from.
        train: Training images.
        validation: Validation images.
        cases: Of the validation split.
        prepare: Makes training batches ready on the device.
        loss: Of a batch.
        batches: The order of the training images.
        checkpoint: The untrained model.
        pretrained: What it took over from other weights.
    """

    cohort: Cohort
    train: Images
    validation: Images
    cases: pl.DataFrame
    prepare: Prepare
    loss: Loss
    batches: EpochBatches
    checkpoint: Checkpoint
    pretrained: LoadedWeights | None


def gather(settings: TrainSettings, group: Group = ALONE, cohort: Cohort | None = None, pretrained: bool = True) -> Material:
    """Everything that a training is made of, from its settings: cohort, view, splits, loss and network.

    Args:
        settings: Of the training.
        group: The ranks that share each batch.
        cohort: Where the cases are from; None fills it from the settings' data set.
        pretrained: Load the weights that the settings name to start from; a training that goes on does without.

    Raises:
        MedaiError: something is missing or does not fit.
    """
    cohort = cohort or ingest(build_source(settings.dataset), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    if not cohort.labels:
        raise MedaiError(f"cohort {cohort.path} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    check_audited(cohort.meta, settings.allow)
    plan = _plan(settings, cohort)
    view = ensure_view(cohort, plan.resize, settings.workers)
    training = settings.training
    cases = {name: _cases(settings, cohort, name) for name in ("train", "validation")}
    splits = {name: _images(settings, cohort, view, plan, cases[name], name) for name in cases}
    images = splits["train"]
    known = images.targets(np.arange(len(images)))
    weights = balanced_weights(cohort.labels, known) if training.class_weights == "balanced" else None
    loss = Loss(cohort.labels, build_case_loss(settings.loss, cohort.labels, known), training.label_smoothing, weights)
    chosen = settings.augmentation
    single, batched = choose_augmentation(chosen, view.shape[1:])
    mix = Mix(chosen.mix, chosen.mix_alpha, chosen.mix_probability) if chosen.mix != "none" else None
    images.augmentation, images.mix, images.loss = single, mix, loss
    drawn = _drawn(settings, cohort, cases["train"], images.target)
    batches = EpochBatches(
        len(images), training.batch_size, settings.seed, group, training.micro_batch, drawn, mix is not None, training.limit_batches
    )
    torch.manual_seed(settings.seed)
    checkpoint = Checkpoint.fresh(cohort.labels, plan, settings.model, variants_of(training))
    loaded = load_pretrained(checkpoint.classifier.network, settings.pretrained) if settings.pretrained.path and pretrained else None
    channels_last = training.channels_last and takes_channels_last(checkpoint.classifier)
    prepare = Prepare(view.encoding, plan.intensity, batched, mix, channels_last)
    if training.gradient_checkpointing:
        enable_checkpointing(checkpoint.classifier)
    loss = copy.deepcopy(loss).to(group.device)
    return Material(cohort, images, splits["validation"], cases["validation"], prepare, loss, batches, checkpoint, loaded)


def loader_workers(settings: TrainSettings, images: Images) -> int:
    """How many processes prepare batches: those of the settings where images are augmented one by one, or where the view is so large
    that it is read from the disk again and again; else none, since handing over a batch costs more than gathering it.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    large = int(np.prod(images.view.shape)) * images.view.dtype.itemsize > memory / 2
    return settings.workers if images.augmentation is not None or large else 0


def make_deterministic(settings: TrainSettings) -> None:
    """Seed torch, and let it choose only algorithms that give the same result each time, if the settings say so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(settings.training.deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds faults, at twice the time
    torch.backends.cudnn.benchmark = not settings.training.deterministic


def _plan(settings: TrainSettings, cohort: Cohort) -> PreprocessingPlan:
    chosen = settings.preprocessing
    channels = chosen.channels or int(cohort.meta["channels"])
    return PreprocessingPlan(ResizePlan(chosen.height, chosen.width, channels), chosen.intensity)


def _cases(settings: TrainSettings, cohort: Cohort, split: str) -> pl.DataFrame:
    """The cases of a split: the cohort's own, or those of a fold."""
    if settings.fold is None:
        cases = cohort.select(split, uncertain=True)
    else:
        cases = cross_validation(cohort, settings.fold, settings.folds, settings.seed).filter(pl.col("split") == split)
    if cases.is_empty():
        advice = "give the data set a split (dataset.split.validation=0.15), or cross-validate (fold=0 folds=5)"
        raise MedaiError(f"cohort {cohort.path} has no {split} cases; {advice}")
    return cases


def _images(settings: TrainSettings, cohort: Cohort, view: View, plan: PreprocessingPlan, cases: pl.DataFrame, split: str) -> Images:
    target = target_matrix(cases, cohort.labels)
    _check_classes(settings, cohort.labels, target, split)
    return Images(
        view, cases["ordinal"].to_numpy().astype(np.int64), target, plan.intensity, settings.seed, cases["case_id"],  # type: ignore[arg-type]
        _uncertain(cases, cohort.labels), (settings.training.uncertain, settings.training.uncertain_share),
    )  # fmt: skip


def _uncertain(cases: pl.DataFrame, labels: tuple[Label, ...]) -> Bool[np.ndarray, "n L"] | None:
    names = [f"{label.name}.uncertain" for label in labels]
    if not all(name in cases.columns for name in names):
        return None
    flags = np.stack([cases[name].fill_null(False).to_numpy() for name in names], axis=1)
    flags &= np.array([label.kind == "binary" for label in labels])  # of other kinds it is unknown
    return flags if flags.any() else None


def _drawn(settings: TrainSettings, cohort: Cohort, cases: pl.DataFrame, target: Int64[np.ndarray, "n L"]) -> np.ndarray | None:
    """How likely each case is drawn; None where each is visited once an epoch."""
    if settings.training.sampling == "none":
        return None
    weight = cases["weight"].to_numpy() if "weight" in cases.columns and cases["weight"].is_not_null().all() else None
    return sampling_weights(cohort.labels, target, settings.training.sampling, weight)


def target_matrix(cases: pl.DataFrame, labels: tuple[Label, ...]) -> Int64[np.ndarray, "n L"]:
    """Class indices, -1 where unknown."""
    columns = [cases[label.name].cast(pl.Int64).fill_null(UNKNOWN).to_numpy() for label in labels]
    return np.stack(columns, axis=1).astype(np.int64)


def _check_classes(settings: TrainSettings, labels: tuple[Label, ...], target: Int64[np.ndarray, "n L"], split: str) -> None:
    """Refuse what cannot be learned, or cannot be judged by the monitored figure."""
    single = [label.name for label, column in zip(labels, target.T, strict=True) if len(np.unique(column[column != UNKNOWN])) < 2]
    if split == "train" and single:
        raise MedaiError(
            f"label {single[0]!r} has a single class among the {len(target)} training cases; there is nothing to learn from it"
        )
    if split == "validation" and settings.training.monitor == "auroc" and len(single) == len(labels):
        what = f"no label has two classes among the {len(target)} validation cases"
        raise MedaiError(f"{what}, so there is no AUROC to choose by; enlarge dataset.split.validation or set training.monitor=loss")
