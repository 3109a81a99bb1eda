"""Synthetic series: rows of a header scan, and DICOM files of a volume whose every voxel is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medai.dicom.instance import INSTANCE_SCHEMA

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
STEEP = np.radians(20)
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(STEEP)), float(np.sin(STEEP)))


def positions(
    count: int, step_mm: float = 2.0, orientation: Sequence[float] = AXIAL, origin: Sequence[float] = (-10, -20, 5)
) -> np.ndarray:
    """`count` positions (count, 3) along the normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(origin, float) + np.arange(count)[:, None] * step_mm * normal


def rows(position: np.ndarray | Sequence[Sequence[float]], **columns: Any) -> pl.DataFrame:
    """A series of CT slices at `position` (N, 3). A column is one value for all, or a list of one value a slice."""
    count = len(position)
    series = columns.get("series_uid", "1.2.3")
    name = series if isinstance(series, str) else "many"
    values: dict[str, Any] = {
        "item": [f"{name}/{index:04d}" for index in range(count)],
        "size": 1000,
        "mtime_ns": 0,
        "sop_instance_uid": [f"{name}.{index}" for index in range(count)],
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "patient_id": "P",
        "modality": "CT",
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "instance_number": list(range(1, count + 1)),
        "frames": 1,
        "rows": 64,
        "columns": 48,
        "samples": 1,
        "slice_thickness": 2.0,
        "pixel_spacing": [[0.5, 0.5]] * count,
        "orientation": [list(AXIAL)] * count,
        "position": [None if one is None else [float(part) for part in one] for one in position],
        **columns,
    }
    lists = {key: value if isinstance(value, list) else [value] * count for key, value in values.items()}
    return pl.DataFrame({name: lists.get(name, [None] * count) for name in INSTANCE_SCHEMA.names()}, schema=INSTANCE_SCHEMA)


def slice_dataset(stored: np.ndarray, position: Sequence[float], **attributes: Any) -> pydicom.Dataset:
    """One CT slice of uint16 or int16 `stored` (H, W)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(None, [str(list(position))])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = "2.25.1", "2.25.2", "P"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(stored.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 2.0
    dataset.ImagePositionPatient = [round(float(value), 6) for value in position]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write_series(folder: Path, stored: np.ndarray, position: np.ndarray, **attributes: Any) -> list[str]:
    """Write `stored` (D, H, W), a file a slice, under names that say nothing of the order; gives the names in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{(7 * index + 3) % 101:03d}.dcm" for index in range(len(stored))]
    for name, piece, place in zip(names, stored, position, strict=True):
        slice_dataset(piece, place, **attributes).save_as(folder / name, enforce_file_format=True)
    return names


def enhanced_dataset(stored: np.ndarray, position: np.ndarray, groups: Sequence[dict[str, Any]] | None = None) -> pydicom.Dataset:
    """An enhanced MR file of `stored` (F, H, W). `groups` may give each frame `b_value`, `slope`, `echo_time`, `orientation`."""
    dataset = slice_dataset(stored[0], position[0], ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    dataset.Modality = "MR"
    dataset.NumberOfFrames = len(stored)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    measures = _item(PixelSpacing=[0.5, 0.75], SliceThickness=2.0)
    dataset.SharedFunctionalGroupsSequence = [_item(PixelMeasuresSequence=[measures])]
    frames = []
    for index, place in enumerate(position):
        given = (groups or [{}] * len(stored))[index]
        frame = _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[float(value) for value in place])],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=list(given.get("orientation", AXIAL)))],
            FrameContentSequence=[_item(StackID="1", InStackPositionNumber=index + 1)],
        )
        if "b_value" in given:
            frame.MRDiffusionSequence = [_item(DiffusionBValue=given["b_value"])]
        if "echo_time" in given:
            frame.MREchoSequence = [_item(EffectiveEchoTime=given["echo_time"])]
        if "slope" in given:
            frame.PixelValueTransformationSequence = [_item(RescaleSlope=given["slope"], RescaleIntercept=0, RescaleType="US")]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return dataset


def _item(**attributes: Any) -> pydicom.Dataset:
    item = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
