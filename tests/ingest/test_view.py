from pathlib import Path

import numpy as np
import polars as pl
import pytest

import medai.ingest.view
from medai.cohort.cohort import Cohort
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.preprocessing.plan import ResizePlan
from medai.source.images import ImagesSource
from medai.store.shard import NativePixels


def _cohort(folder: Path, dtype: str = "uint16", seed: int = 0) -> Cohort:
    random = np.random.default_rng(seed)
    for index in range(24):
        path = folder / f"images{seed}" / "ab"[index % 2] / f"{index:02d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (30 + 3 * (index % 3), 40) if index % 5 else (3, 25, 25)
        values = random.random(shape) if dtype == "float32" else random.integers(0, 4096, shape)
        np.save(path, values.astype(dtype))
    return ingest(ImagesSource("set", str(folder / f"images{seed}"), public=True), folder / "cohorts", workers=0)


@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("uint16", 3), ("float32", 1)])
def test_a_view_holds_every_case_resized_in_the_cohort_s_order(tmp_path: Path, dtype: str, channels: int) -> None:
    import torch

    from medai.preprocessing.resize import Resize

    cohort = _cohort(tmp_path, dtype)
    view = ensure_view(cohort, ResizePlan(16, 20, channels), workers=0)
    assert view.shape == (24, channels, 16, 20) and view.dtype == ("uint16" if dtype == "float32" else "int16")
    store, resize = NativePixels(cohort.path), Resize(16, 20, channels)
    for ordinal, *place in cohort.cases().select("ordinal", "shard", "offset", "length").iter_rows():
        exact = resize(torch.from_numpy(store.read(*place).astype(np.float32))[None]).numpy()[0]
        stored = view.encoding.decode(view.gather(np.array([ordinal])))[0]
        assert np.abs(stored - exact).max() <= view.scale * 0.5001


def test_any_number_of_workers_gives_the_same_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.ingest.view, "CASES_PER_TASK", 5)
    cohort, plan = _cohort(tmp_path), ResizePlan(16, 16, 1)
    one = ensure_view(cohort, plan, workers=0)
    data = (one.path / "pixels.raw").read_bytes()
    one.path.rename(tmp_path / "one")
    monkeypatch.setattr(medai.ingest.view, "FEW_VALUES", 0)
    two = ensure_view(cohort, plan, workers=2)
    assert (two.path / "pixels.raw").read_bytes() == data
    assert sorted(path.name for path in two.path.iterdir()) == ["checksums.raw", "pixels.raw", "view.json"]


def test_a_view_is_made_once_and_a_new_plan_makes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = _cohort(tmp_path)
    first = ensure_view(cohort, ResizePlan(16, 16, 1))
    ensure_view(cohort, ResizePlan(16, 17, 1))
    cohort.check()  # views are no part of it
    monkeypatch.setattr(medai.ingest.view, "_make", None)
    assert ensure_view(cohort, ResizePlan(16, 16, 1)).path == first.path
    assert len([path for path in (cohort.path / "views").iterdir() if path.is_dir()]) == 2


def test_a_view_of_other_content_or_cut_off_is_made_again(tmp_path: Path) -> None:
    cohort, plan = _cohort(tmp_path), ResizePlan(16, 16, 1)
    data = (ensure_view(cohort, plan).path / "pixels.raw").read_bytes()
    other = _cohort(tmp_path, seed=1)
    (other.path / "views").mkdir()
    ensure_view(cohort, plan).path.rename(other.path / "views" / plan.hash)
    assert ensure_view(other, plan).meta["cohort_hash"] == other.hash
    assert (ensure_view(other, plan).path / "pixels.raw").read_bytes() != data
    (ensure_view(cohort, plan).path / "pixels.raw").write_bytes(b"")
    assert (ensure_view(cohort, plan).path / "pixels.raw").read_bytes() == data


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    cohort, plan = _cohort(tmp_path), ResizePlan(16, 16, 1)
    stray = cohort.path / "views" / f".{plan.hash}.0badc0de.part"
    stray.mkdir(parents=True)
    ensure_view(cohort, plan)
    assert not stray.exists()


def test_a_damaged_image_names_its_case(tmp_path: Path) -> None:
    from medai.core.error import MedaiError

    cohort = _cohort(tmp_path)
    path = cohort.path / "pixels/00000.shard"
    data = bytearray(path.read_bytes())
    case = cohort.cases().filter(pl.col("ordinal") == 7).row(0, named=True)
    data[case["offset"] + case["length"] - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MedaiError, match=f"the pixels of case '{case['case_id']}'"):
        ensure_view(cohort, ResizePlan(16, 16, 1))
