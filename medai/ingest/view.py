"""Make views: the pixels of a cohort at one shape. Disposable; a changed plan or cohort makes a new one, never a stale one."""

import multiprocessing
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Shaped

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.file import atomic_directory, write_json
from medai.core.lock import locked
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.preprocessing.plan import ResizePlan
from medai.store.shard import NativePixels
from medai.store.view import VIEW_CHECKSUMS, VIEW_PIXELS, VIEW_RECORD, VIEW_SCHEMA_VERSION, Encoding, View, checksums

CASES_PER_TASK = 256
FEWEST_STEPS = 64  # in which the median image has to be stored
VALUES_PER_BATCH = 2**24  # 64 MB of float32
FEW_VALUES = 2**28  # so many are resized sooner than processes have imported torch


@dataclass(frozen=True)
class _Context:
    cohort: Path
    raw: Path
    shape: tuple[int, int, int, int]
    encoding: Encoding


def ensure_view(cohort: Cohort, plan: ResizePlan, workers: int = 2) -> View:
    """The view of a cohort at a plan's size; made when it is not there or belongs to other content.

    Args:
        cohort: Every case is in, in the order of `ordinal`; labels have no part in it.
        plan: The size.
        workers: Processes; the bytes do not depend on them.

    Example:
        >>> ensure_view(cohort, ResizePlan(224, 224, 1)).shape
        (5856, 1, 224, 224)
    """
    path = cohort.path / "views" / plan.hash
    if not _fits(path, cohort):
        with locked(path.with_name(f".{plan.hash}.lock")):
            if not _fits(path, cohort):  # another process may have made it meanwhile
                for stray in path.parent.glob(f".{plan.hash}.*.part"):  # of a killed process
                    shutil.rmtree(stray, ignore_errors=True)
                _make(path, cohort, plan, workers)
    return View.open(path)


def refuse_volumes(cohort: Cohort) -> None:
    """A view holds images.

    Raises:
        MedaiError: the cohort holds volumes.
    """
    volumes = int(cohort.cases()["shape"].list.len().eq(4).sum())
    if volumes:
        what = f"{cohort.path} holds {volumes:,} volumes, and training, evaluation and export take images alone so far"
        raise MedaiError(f"{what}; ingest every slice as an image: dataset.series.volumes=never")


def _fits(path: Path, cohort: Cohort) -> bool:
    try:
        return bool(View.open(path).meta["cohort_hash"] == cohort.hash)
    except (MedaiError, KeyError):
        return False


def _make(path: Path, cohort: Cohort, plan: ResizePlan, workers: int) -> None:
    refuse_volumes(cohort)
    cases = cohort.cases().select("case_id", "shape", "dtype", "pixel_min", "pixel_max", "shard", "offset", "length")
    shape = (len(cases), plan.channels, plan.height, plan.width)
    encoding = choose_encoding(cases)
    values = int(cases["shape"].list.eval(pl.element().cast(pl.Int64).product()).list.first().sum())
    tasks = [(first, cases[first : first + CASES_PER_TASK]) for first in range(0, len(cases), CASES_PER_TASK)]
    with atomic_directory(path, replaces=VIEW_RECORD) as temporary:
        context = _Context(cohort.path, temporary / VIEW_PIXELS, shape, encoding)
        _reserve(context.raw, int(np.prod(shape)) * np.dtype(encoding.dtype).itemsize)
        _reserve(context.raw.with_name(VIEW_CHECKSUMS), 8 * shape[0])
        with progress(f"View {plan.height} x {plan.width} of {cohort.name}", len(cases)) as bar:
            for count in run_tasks(_fill, context, tasks, workers if values > FEW_VALUES else 0):
                bar.advance(count)
        record: dict[str, Any] = {"schema_version": VIEW_SCHEMA_VERSION, "plan": asdict(plan), "plan_hash": plan.hash}
        write_json(temporary / VIEW_RECORD, record | {"cohort_hash": cohort.hash, "shape": list(shape)} | asdict(encoding))


def _reserve(path: Path, size: int) -> None:
    """Make a file of `size` bytes. A full disk is told now: through a memory map it would kill the process."""
    with open(path, "wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:  # macOS
            stream.truncate(size)


def choose_encoding(cases: pl.DataFrame) -> Encoding:
    """How the values of these cases are stored in a view, from their `dtype`, `pixel_min` and `pixel_max`.

    Raises:
        MedaiError: a case's values lie so far out that in equal steps over all values the other images would be flat.
    """
    low, high = cases.select(pl.col("pixel_min").min(), pl.col("pixel_max").max()).row(0)
    encoding = Encoding.choose(low, high, integers=not cases["dtype"].str.starts_with("float").any())
    span = cases.select((pl.col("pixel_max") - pl.col("pixel_min")).median()).item()
    if encoding.offset != 0 or encoding.scale != 1:
        _check_steps(cases, encoding, span)
    return encoding


def _check_steps(cases: pl.DataFrame, encoding: Encoding, span: float) -> None:
    if span <= 0 or encoding.scale <= span / FEWEST_STEPS:
        return
    worst = cases.select(pl.max_horizontal(pl.col("pixel_max").abs(), pl.col("pixel_min").abs()).arg_max()).item()
    low, high = cases.select("pixel_min", "pixel_max").row(worst)
    name = cases["case_id"][worst] if "case_id" in cases.columns else f"number {worst}"
    what = f"case {name} has values from {low:g} to {high:g}, while half of the images span less than {span:g}"
    raise MedaiError(f"{what}: in a view of 16 bits the others would be flat; mend or remove it and ingest again")


def _fill(context: _Context, task: tuple[int, pl.DataFrame]) -> int:
    """Resize some cases and write them to their rows of the file."""
    import torch

    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    first, cases = task
    raw = np.memmap(context.raw, dtype=context.encoding.dtype, mode="r+", shape=context.shape)
    sums = np.memmap(context.raw.with_name(VIEW_CHECKSUMS), dtype=np.uint64, mode="r+", shape=context.shape[:1])
    pixels = NativePixels(context.cohort)
    grouped = cases.with_row_index("row").group_by("shape", maintain_order=True)
    for (shape,), group in grouped:
        step = max(1, VALUES_PER_BATCH // int(np.prod(shape)))
        for start in range(0, len(group), step):
            some = group[start : start + step]
            batch = np.stack([pixels.read(*place).astype(np.float32) for place in some.select("shard", "offset", "length").iter_rows()])
            rows, stored = first + some["row"].to_numpy(), context.encoding.encode(_resize(batch, context.shape))
            raw[rows] = stored
            sums[rows] = checksums(stored)
    raw.flush()
    sums.flush()
    return len(cases)


def _resize(batch: Float32[np.ndarray, "n C H W"], shape: tuple[int, int, int, int]) -> Shaped[np.ndarray, "n channels height width"]:
    import torch

    from medai.preprocessing.resize import Resize

    _, channels, height, width = shape
    with torch.inference_mode():
        resized: Shaped[np.ndarray, "n channels height width"] = Resize(height, width, channels)(torch.from_numpy(batch)).numpy()
    return resized
