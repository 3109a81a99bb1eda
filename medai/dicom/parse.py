"""Bytes of a DICOM file to a pydicom data set, with guards against what is no DICOM, cut off, or inflates without end."""

import gc
import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from medai.core.error import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

MAXIMUM_BYTES = 2**28
"""What a deflated file may inflate to (256 MiB)."""

MAXIMUM_READS = 400_000
"""Pieces that the parser may take from one file, one or two an element: they take seconds. An enhanced MR image with groups of
undefined length takes 280 a frame."""

DEFERRED = 2**20
"""Values that are longer stay on the disk where the file is not read at once (1 MiB)."""

IN_MEMORY = 2**27
"""Up to this size (128 MiB) a file is read at once; a larger one leaves its long values on the disk."""

_META_BYTES = 1024  # the usual file meta information takes a third of it
_PREAMBLE = 132  # PS3.10 7.1: 128 bytes of preamble, then "DICM"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_FIRST_ELEMENTS = frozenset({0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0014, 0x0016, 0x0018, 0x0020})
_CUT_OFF = "the file is cut off: {}; copy the file again from its source"


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep pydicom from telling the terminal what we tell by a Refusal; gives the list of its warnings."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # it logs the traceback of each decoder that fails
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        logger.setLevel(level)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which goes through all elements again and again while they become more."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def is_dicom(path: Path) -> bool:
    """Whether the file looks like DICOM, whatever its name: a preamble, or a data set that starts as PS3.5 orders it."""
    try:
        with open(path, "rb") as stream:
            return _looks_like_dicom(stream.read(_PREAMBLE))
    except OSError:
        return False


def parse_file(path: Path) -> "Dataset":
    """Parse a file as `parse` does, but leave the pixel data of a large one where it is: `medai.dicom.frames` reads it by parts.

    Raises:
        Refusal: as `read_bytes` and `parse`.
    """
    if not path.is_file() or path.stat().st_size <= IN_MEMORY:
        return parse(read_bytes(path))
    try:
        with closing(_Counted(path)) as stream:
            dataset = _guarded(stream, MAXIMUM_BYTES)
    except OSError as error:
        raise Refusal("unreadable-file", f"{path} cannot be read ({error.strerror}); check its permissions") from None
    dataset.medai_path = path  # a plain attribute: pydicom keeps what is no keyword aside
    return dataset


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Refusal: ``missing-file`` or ``unreadable-file``.
    """
    if not path.is_file():
        raise Refusal("missing-file", f"{path} does not exist or is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal("unreadable-file", f"{path} cannot be read ({error.strerror}); check its permissions") from None


def parse(data: bytes, maximum_bytes: int = MAXIMUM_BYTES) -> "Dataset":
    """Parse a DICOM file, tolerantly: the preamble and the file meta information may be missing.

    Args:
        data: The whole file.
        maximum_bytes: What a deflated data set may inflate to.

    Returns:
        The data set with a `file_meta` that always has (0002,0010) 'Transfer Syntax UID'.

    Raises:
        Refusal: ``not-dicom``, ``truncated`` or ``too-large``.
    """
    return _guarded(_Counted(data), maximum_bytes)


class _Counted:
    """A stream that counts how often it is read, and never asks for more than there is: lengths in a header are claims."""

    def __init__(self, source: bytes | Path) -> None:
        self._stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115  # closed by close
        self.size = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(0)
        self._reads = 0
        self.tell, self.seek, self.close = self._stream.tell, self._stream.seek, self._stream.close
        if isinstance(source, Path):
            self.name = str(source)

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MAXIMUM_READS:
            raise Refusal("too-large", f"the header has more than about {MAXIMUM_READS // 2:,} elements")
        return self._stream.read(min(size, self.size))


def _guarded(stream: _Counted, maximum_bytes: int) -> "Dataset":
    head = stream.read(_PREAMBLE)
    if not _looks_like_dicom(head):
        raise Refusal("not-dicom", "this is not a DICOM file: no 'DICM' after 128 bytes, and no group 0002 or 0008 at its start")
    with quiet() as caught, _no_collection():
        try:
            dataset = _parse(stream, maximum_bytes)
        except Refusal:
            raise
        except EOFError:
            raise Refusal("truncated", _CUT_OFF.format("it ends within the header")) from None
        except Exception as error:  # a hostile or broken header may raise anything in the parser
            raise Refusal("not-dicom", f"the header cannot be parsed ({_first_line(error)}); the file is damaged or is not DICOM") from None
    if any(str(warning.message).startswith(("End of file", "EOF", "Unexpected end", "No tag to read")) for warning in caught):
        raise Refusal("truncated", _CUT_OFF.format("an element ends without its delimiter"))
    _refuse_cut_element(dataset, stream.size)
    _complete_file_meta(dataset)
    return dataset


def _parse(stream: _Counted, maximum_bytes: int) -> "Dataset":
    from pydicom import dcmread

    stream.seek(0)
    inflated = _inflate(stream, maximum_bytes)
    if inflated is not None:
        return inflated
    stream.seek(0)
    return dcmread(stream, force=True, defer_size=None if stream.size <= IN_MEMORY else DEFERRED)


def _inflate(stream: _Counted, maximum_bytes: int) -> "Dataset | None":
    """Read a deflated data set (PS3.5 A.5) under a cap, which pydicom does not have; None if the file is not deflated."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    head = stream.read(_PREAMBLE)
    stream.seek(_PREAMBLE if head[128:132] == b"DICM" else 0)
    if stream.read(2) != b"\x02\0":
        return None
    stream.seek(-2, io.SEEK_CUR)
    start = stream.tell()
    if _names_another_syntax(stream.read(_META_BYTES)):
        return None
    stream.seek(start)
    meta = FileMetaDataset(read_dataset(cast(BinaryIO, stream), False, True, stop_when=lambda tag, vr, length: tag.group != 2))
    if meta.get("TransferSyntaxUID") != _DEFLATED.decode():
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(stream.read(2 * maximum_bytes), maximum_bytes)
    except zlib.error as error:
        raise Refusal("decode-failed", f"the deflated data set is damaged ({error}); copy the file again from its source") from None
    if inflater.unconsumed_tail:
        raise Refusal("too-large", f"the deflated data set inflates to more than the {maximum_bytes:,} bytes that are allowed")
    if not inflater.eof:
        raise Refusal("truncated", _CUT_OFF.format("the deflated data set has no end"))
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    dataset = FileDataset(io.BytesIO(), read_dataset(cast(BinaryIO, _Counted(inflated)), False, True), head[:128], meta, False, True)
    dataset.set_original_encoding(False, True)
    return dataset


def _names_another_syntax(data: bytes) -> bool:
    """Whether file meta information of the usual form (PS3.10 7.1) is all there and nowhere names the deflated syntax.

    It is then not parsed twice. False is no verdict.
    """
    at = 0
    while data[at : at + 2] == b"\x02\0":
        if data[at + 4 : at + 6] in (b"UI", b"UL", b"SH", b"AE"):
            at += 8 + int.from_bytes(data[at + 6 : at + 8], "little")
        elif data[at + 4 : at + 8] == b"OB\0\0":
            at += 12 + int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            return False
    return at + 8 <= len(data) and _DEFLATED not in data[:at]


def _refuse_cut_element(dataset: "Dataset", size: int) -> None:
    """The last element of a cut file is shorter than its own length says."""
    if not len(dataset):
        raise Refusal("truncated", _CUT_OFF.format("it holds no element after the file meta information"))
    try:
        element: Any = dataset.get_item(max(dataset.keys()), keep_deferred=True)
    except Exception:  # an element of unknown value representation; whether it matters is asked where it is used
        return
    length, value = getattr(element, "length", None), getattr(element, "value", None)
    if isinstance(value, bytes) and length not in (None, 0xFFFFFFFF) and len(value) < length:
        tag = element.tag
        raise Refusal("truncated", _CUT_OFF.format(f"({tag.group:04X},{tag.element:04X}) has {len(value):,} of {length:,} bytes"))
    if value is None and length not in (None, 0xFFFFFFFF) and element.value_tell + length > size:  # left on the disk
        raise Refusal("truncated", _CUT_OFF.format(f"it has {size:,} of {element.value_tell + length:,} bytes"))


def _complete_file_meta(dataset: "Dataset") -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = UID(_IMPLICIT_LITTLE if implicit else _EXPLICIT_LITTLE if little else _EXPLICIT_BIG)


def _looks_like_dicom(head: bytes) -> bool:
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[at : at + 2], "little" if order == "little" else "big") for at in (0, 2))
        if group in (0x0002, 0x0008) and element in _FIRST_ELEMENTS:
            return True
    return False


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
