"""The frames of an enhanced multi-frame image, each with its own position (PS3.3 C.7.6.16: functional groups)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.dicom.parse import parse, parse_file, quiet

if TYPE_CHECKING:
    from pydicom import Dataset

MAXIMUM_FRAMES = 100_000
"""A file that claims more frames than this is not split into them."""


@dataclass(frozen=True)
class FrameGroup:
    """What the shared and the per-frame functional groups say of one frame; None where they say nothing.

    Attributes:
        frame: Index from 0.
        position: (0020,0032), LPS mm.
        orientation: (0020,0037).
        pixel_spacing: (0028,0030), row and column, mm.
        slice_thickness: (0018,0050), mm.
        spacing_between_slices: (0018,0088), mm.
        image_type: (0008,9007) 'Frame Type', joined by a backslash.
        stack_id: (0020,9056).
        temporal_position: (0020,9128) 'Temporal Position Index'.
        acquisition_number: (0020,9156) 'Frame Acquisition Number'.
        echo_time: (0018,9082) 'Effective Echo Time', ms.
        b_value: (0018,9087), s/mm2.
        trigger_time: (0020,9153) 'Nominal Cardiac Trigger Delay Time', ms.
    """

    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_thickness: float | None
    spacing_between_slices: float | None
    image_type: str | None
    stack_id: str | None
    temporal_position: int | None
    acquisition_number: int | None
    echo_time: float | None
    b_value: float | None
    trigger_time: float | None


def frame_groups(dataset: "Dataset") -> list[FrameGroup]:
    """The frames of a data set by its functional groups.

    There are none where (5200,9230) 'Per-frame Functional Groups Sequence' is absent or does not describe each frame.

    Example:
        >>> [group.position for group in frame_groups(dataset)][:1]
        [(100.3, -150.6, 116.9)]
    """
    frames = _items(dataset, "PerFrameFunctionalGroupsSequence")
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return []
    if not 0 < len(frames) == count <= MAXIMUM_FRAMES:
        return []
    shared = next(iter(_items(dataset, "SharedFunctionalGroupsSequence")), None)
    common = {name: _find(shared, *where) for name, where in _WHERE.items()}
    return [
        FrameGroup(index, **{name: common[name] if (own := _find(group, *where)) is None else own for name, where in _WHERE.items()})
        for index, group in enumerate(frames)
    ]


def read_frame_groups(source: Path | bytes) -> list[FrameGroup]:
    """The frames of a file, see `frame_groups`.

    Raises:
        Refusal: what `parse` and `parse_file` refuse.
    """
    dataset = parse(source) if isinstance(source, bytes) else parse_file(Path(source))
    with quiet():
        return frame_groups(dataset)


def _find(group: "Dataset | None", macros: tuple[str, ...], keyword: str, convert: Callable[[Any], Any]) -> Any:
    for macro in macros:
        for item in _items(group, macro)[:1]:
            try:
                value = item.get(keyword)
                return None if value is None else convert(value)
            except Exception:  # as above
                return None
    return None


def _items(dataset: "Dataset | None", keyword: str) -> Any:
    try:
        return (dataset.get(keyword) if dataset is not None else None) or []
    except Exception:  # as above
        return []


def _text(value: Any) -> str | None:
    return (str(value) if isinstance(value, str) else "\\".join(str(part) for part in value)).strip() or None


def _whole(value: Any) -> int:
    return int(value)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _numbers(count: int) -> Callable[[Any], tuple[float, ...] | None]:
    def convert(value: Any) -> tuple[float, ...] | None:
        numbers = tuple(float(part) for part in value)
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None

    return convert


_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence")
_WHERE: dict[str, tuple[tuple[str, ...], str, Callable[[Any], Any]]] = {
    "position": (("PlanePositionSequence",), "ImagePositionPatient", _numbers(3)),
    "orientation": (("PlaneOrientationSequence",), "ImageOrientationPatient", _numbers(6)),
    "pixel_spacing": (("PixelMeasuresSequence",), "PixelSpacing", _numbers(2)),
    "slice_thickness": (("PixelMeasuresSequence",), "SliceThickness", _number),
    "spacing_between_slices": (("PixelMeasuresSequence",), "SpacingBetweenSlices", _number),
    "image_type": (_FRAME_TYPES, "FrameType", _text),
    "stack_id": (("FrameContentSequence",), "StackID", _text),
    "temporal_position": (("FrameContentSequence",), "TemporalPositionIndex", _whole),
    "acquisition_number": (("FrameContentSequence",), "FrameAcquisitionNumber", _whole),
    "echo_time": (("MREchoSequence",), "EffectiveEchoTime", _number),
    "b_value": (("MRDiffusionSequence",), "DiffusionBValue", _number),
    "trigger_time": (("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime", _number),
}
