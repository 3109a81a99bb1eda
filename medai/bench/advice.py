"""From the figures of a benchmark to sentences: what limits the training, and which setting would change it."""

import os
from collections.abc import Iterator

import torch

from medai.augmentation.batched import not_covered
from medai.bench.loading import BATCHED, GATHER, PREPARE, SINGLE, TRANSFER, InputFound
from medai.bench.network import OPTIMISER, ModelFound
from medai.bench.report import Report
from medai.training.precision import choose_precision
from medai.training.settings import TrainSettings

STALL = 0.05  # from which on the input is worth mending
LARGE = 0.3  # share of a stage that is worth a sentence
PLENTY = 10.0  # times the network's rate: such an input cannot hold it up


def advise(report: Report, settings: TrainSettings, device: torch.device) -> tuple[str, ...]:
    """Sentences about what was measured, the most important first."""
    sentences: list[str] = []
    needed = report.model.rate if report.model else None
    plenty = bool(report.input and needed and report.input.rates.get(settings.workers, 0.0) > PLENTY * needed)
    if report.stall is not None and report.model and report.train is not None:
        sentences += _limit(report.stall, report.train, report.model, plenty)
    if report.input:
        stalled = report.stall is None or (report.stall >= STALL and not plenty)
        sentences += _input(report.input, settings, stalled)
        sentences += _workers(report.input, settings, needed)
    if report.model:
        sentences += _model(report.model, settings, device)
    return tuple(sentences + list(_threads(device)))


def _limit(stall: float, rate: float, model: ModelFound, plenty: bool) -> Iterator[str]:
    rates = f"{rate:,.0f} images/s, synthetic tensors reach {model.rate:,.0f}"
    if stall < STALL:
        yield (
            f"The network is the limit: the training reaches {rates}. A faster input would change nothing; "
            "a smaller network, smaller images or faster hardware would."
        )
    elif plenty:
        yield (
            f"The training reaches {rates}, although the input alone delivers more than {PLENTY:.0f} times as many: "
            "something else uses this machine; measure again when it is idle."
        )
    else:
        yield f"The input holds the network up: the training reaches {rates}: {stall:.0%} of the time the network waits."


def _input(found: InputFound, settings: TrainSettings, stalled: bool) -> Iterator[str]:
    shares = {stage.name: stage.seconds / max(found.seconds, 1e-9) for stage in found.stages}
    if SINGLE in shares:
        yield _single(shares[SINGLE], settings)
    if not stalled:
        return
    if shares.get(BATCHED, 0) > LARGE:
        yield f"Augmentation takes {shares[BATCHED]:.0%} of the input: affine and smoothing transforms cost most; can you do without one?"
    if shares.get(PREPARE, 0) > LARGE and settings.preprocessing.intensity.method == "percentile":
        yield (
            f"The intensity step takes {shares[PREPARE]:.0%} of the input, since percentiles sort every image: where exposure does "
            "not vary, preprocessing.intensity.method=window is many times faster."
        )
    if shares.get(GATHER, 0) > LARGE:
        yield f"Reading the view takes {shares[GATHER]:.0%} of the input: put cohorts=… on a faster disk, or give the machine more memory."
    if shares.get(TRANSFER, 0) > LARGE:
        yield f"The transfer to the device takes {shares[TRANSFER]:.0%} of the input: workers=1 or more prepares page-locked memory for it."


def _single(share: float, settings: TrainSettings) -> str:
    """About transforms that run image by image."""
    start, unknown = f"Augmentation takes {share:.0%} of the input", not_covered(settings.augmentation.transforms)
    if unknown is None:
        return f"{start}, image by image: set augmentation.engine=batched, which knows all of it."
    return f"{start}, since only MONAI itself applies {unknown}: leave it out, or use more workers."


def _workers(found: InputFound, settings: TrainSettings, needed: float | None) -> Iterator[str]:
    best, rates, chosen = found.best_workers, found.rates, settings.workers
    if needed is not None and rates.get(0, 0.0) > PLENTY * needed:
        share = needed / rates[0]
        yield f"workers=0 is enough: without worker processes the input takes {share:.0%} of the network's time."
    elif best != chosen and chosen in rates and rates[best] > 1.1 * rates[chosen]:
        yield f"Set workers={best}: it gives {rates[best]:,.0f} images/s, workers={chosen} gives {rates[chosen]:,.0f}."
    else:
        yield f"workers={chosen} is as good as any number that was tried ({', '.join(map(str, rates))})."


def _model(found: ModelFound, settings: TrainSettings, device: torch.device) -> Iterator[str]:
    whole = sum(stage.seconds for stage in found.stages)
    shares = {stage.name: stage.seconds / max(whole, 1e-9) for stage in found.stages}
    training = settings.training
    if shares.get(OPTIMISER, 0) > LARGE:
        yield f"The optimiser takes {shares[OPTIMISER]:.0%} of a step: a larger training.batch_size makes it rarer."
    if device.type != "cuda":
        return
    if choose_precision("auto", "cuda") != choose_precision(training.precision, training.accelerator):
        yield f"training.precision={training.precision} is slower than training.precision=auto here: this GPU computes bf16 natively."
    if not training.channels_last:
        yield "training.channels_last=true is faster for most convolutional networks."
    if not training.compile:
        yield "training.compile=true saves about a fifth after a minute or two of compiling."
    if training.deterministic:
        yield "training.deterministic=false lets the GPU choose faster algorithms, which give other last digits each time."
    if found.memory_bytes is not None:
        used = found.memory_bytes / torch.cuda.get_device_properties(device).total_memory
        if used < 0.4:
            yield f"A step uses {used:.0%} of the GPU's memory: a larger training.micro_batch or training.batch_size may fill it better."


def _threads(device: torch.device) -> Iterator[str]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    if device.type == "cpu" and threads < usable:
        yield f"torch uses {threads} of {usable} cores: unset OMP_NUM_THREADS, or set it to {usable}."
