"""A case of a cohort as NIfTI, for any viewer."""

from pathlib import Path

import numpy as np
import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.dicom.nifti import write_nifti
from medai.store.shard import NativePixels
from medai.store.volume import VolumePixels


def write_case(cohort: Cohort, case_id: str, path: Path) -> tuple[int, ...]:
    """Write a case with its affine, in modality values; give its shape (C, D, H, W).

    An image lies in the plane of its first slice's place, since a cohort keeps its spacing and not where the patient was: columns
    towards L, rows towards P, 1 mm thick; 1 mm a pixel where its spacing is unknown.

    Args:
        cohort: An ingested cohort.
        case_id: As `cases.parquet` names it.
        path: Ends in ``.nii`` or ``.nii.gz``.

    Raises:
        MedaiError: there is no such case, or its pixels are damaged.
    """
    found = cohort.cases().filter(pl.col("case_id") == case_id)
    if found.is_empty():
        some = ", ".join(cohort.cases()["case_id"].head(3))
        raise MedaiError(f"{cohort.path} has no case {case_id!r}; its cases are named like {some}")
    case = found.row(0, named=True)
    if case["volume"] is not None:
        pixels, affine = VolumePixels(cohort.path).read(case["volume"]), np.array(case["affine"]).reshape(4, 4)
    else:
        pixels = NativePixels(cohort.path).read(case["shard"], case["offset"], case["length"])[:, None]
        rows, columns = case["spacing_mm"] or (1.0, 1.0)
        affine = np.diag([columns, rows, 1.0, 1.0])
    write_nifti(path, pixels, affine)
    return pixels.shape
