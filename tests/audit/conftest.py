"""Small cohorts on disk, made without any source."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.cohort.key import Keys
from medai.cohort.schema import CASE_SCHEMA, CASES, DEVELOPMENT_LABELS, QUARANTINE, QUARANTINE_SCHEMA, SPLIT, TEST_LABELS, shard_name
from medai.cohort.write import write_record, write_table
from medai.core.label import Label
from medai.store.shard import ShardWriter

MakeCohort = Callable[..., Cohort]
SICK = Label("sick", "binary", ("negative", "positive"))


@pytest.fixture
def make_cohort(tmp_path: Path) -> MakeCohort:
    """A cohort of rows: each a mapping with `pixels`, `split`, `sick`, and any column of the cases."""

    def make(rows: list[Mapping[str, Any]], public: bool = True, name: str = "made") -> Cohort:
        folder = tmp_path / name
        (folder / "pixels").mkdir(parents=True)
        cases: list[dict[str, Any]] = []
        with open(folder / shard_name(0), "wb") as stream:
            writer = ShardWriter(stream)
            for index, row in enumerate(rows):
                pixels = row["pixels"]
                offset, length = writer.append(pixels)
                case = dict.fromkeys(CASE_SCHEMA) | {
                    "ordinal": index,
                    "case_id": f"c{index:05d}",
                    "patient_id": f"p{index:05d}",
                    "partition": "test" if row["split"] == "test" else "development",
                    "shape": list(pixels.shape),
                    "dtype": pixels.dtype.name,
                    "pixel_min": float(pixels.min()),
                    "pixel_max": float(pixels.max()),
                    "pixel_hash": hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:32],
                    "shard": 0,
                    "offset": offset,
                    "length": length,
                }
                cases.append(case | {key: value for key, value in row.items() if key in CASE_SCHEMA})
        table = pl.DataFrame(cases, schema=CASE_SCHEMA)
        splits = pl.Series("split", [row["split"] for row in rows])
        sick = pl.Series("sick", [row.get("sick", index % 2) for index, row in enumerate(rows)], dtype=pl.Int8)
        labels = table.select("case_id").with_columns(sick).with_columns(pl.lit(False).alias("sick.uncertain"), label_source=pl.lit("made"))
        test = splits == "test"
        write_table(folder / CASES, table)
        write_table(folder / DEVELOPMENT_LABELS, labels.filter(~test))
        write_table(folder / TEST_LABELS, labels.filter(test))
        write_table(folder / SPLIT, table.select("case_id").with_columns(splits).filter(~test))
        write_table(folder / QUARANTINE, pl.DataFrame(schema=QUARANTINE_SCHEMA))
        counts = {"cases": len(rows), "patients_unknown": table["patient_id"].null_count()}
        record = {"name": name, "public": public, "unit": "image", "labels": [SICK.to_dict()], "counts": counts}
        write_record(folder, record, Keys.of(public))
        return Cohort.open(folder)

    return make


@pytest.fixture
def scene() -> Callable[..., np.ndarray]:
    """A picture of its own for every seed: soft shapes on two scales, like no other's."""

    def draw(seed: int, side: int = 96, dtype: type = np.uint8) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        random = np.random.default_rng(seed)
        coarse, fine = (gaussian_filter(random.normal(size=(side, side)), sigma * side / 96) * sigma for sigma in (9, 3))
        image = coarse * 2 + fine
        image = (image - image.min()) / (image.max() - image.min())
        top = 255 if dtype is np.uint8 else 4000
        return np.round(image * top).astype(dtype)[None]

    return draw
