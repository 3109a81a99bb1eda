"""The header of a DICOM file to one row, without reading its pixels: quick for the plain files, complete for the others.

A walk of our own (`medai.dicom.walk`) takes what it is sure of. The rest goes to pydicom through a cursor that bounds what is read:
big endian, other character sets, functional groups of enhanced multi-frame files, whatever deviates from the standard.
"""

import errno
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.core.error import Refusal
from medai.dicom.bytes_source import ByteSource, Cursor, Inflating, Memory, OpenFile, Prefix
from medai.dicom.column import COLUMNS, LONGEST_VALUE, PLACE, QUICK, slow_value
from medai.dicom.functional_group import PER_FRAME, fill_from_groups, first_groups
from medai.dicom.parse import quiet
from medai.dicom.walk import NeedMore, Unsure, is_explicit, starts_like_dicom, walk_explicit, walk_implicit, walk_meta, wanted

if TYPE_CHECKING:
    from pydicom import Dataset

FIRST_WINDOW = 2**14  # bytes; the headers of most files are shorter
LAST_WINDOW = 2**20  # what lies behind goes to pydicom, which steps over large values

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage

_OTHER_ORDER = frozenset({EXPLICIT_BIG, "1.2.840.113619.5.2"})  # the second is GE's: implicit, pixels in big endian
_WANTED = wanted({column.tag: (place, column.vr) for place, column in enumerate(COLUMNS)})
_SHOWN = tuple(column.name for column in COLUMNS if not column.name.startswith("_"))
_CUT_OFF = "the file is cut off: {}; copy the file again from its source"

Row = tuple[Any, ...]
"""``code``, ``message``, ``digest`` and then the values of COLUMNS that have a column, in the order of INSTANCE_SCHEMA."""
FIELDS = ("code", "message", "digest", *_SHOWN)


class _Deflated(Exception):
    """The data set behind the file meta information is deflated."""

    def __init__(self, at: int, meta: list[bytes | None]) -> None:
        super().__init__()
        self.at, self.meta = at, meta


def scan_header(source: bytes | Path) -> dict[str, Any]:
    """The row of one file: INSTANCE_SCHEMA but `item`, `size` and `mtime_ns`.

    Args:
        source: A file, or the bytes of one.

    Returns:
        A row in any case. `code` and `message` tell why it is no image: ``not-dicom``, ``truncated``, ``bad-header``, ``too-large``,
        ``decode-failed``, ``no-pixels``, ``dicomdir``, ``missing-file``, ``unreadable-file``. The message holds no value of the file.

    Example:
        >>> scan_header(Path("slice.dcm"))["modality"]
        'CT'
    """
    row = scan_bytes(Memory(source)) if isinstance(source, bytes) else scan_file(str(source))
    return dict(zip(FIELDS, row, strict=True))


def scan_file(path: str) -> Row:
    """The row of a file of the file system; it opens it once and reads `FIRST_WINDOW` bytes of most files."""
    try:
        # A pipe would wait for a writer for ever, so it is opened without waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        return _unreadable(error)
    try:
        data = os.pread(descriptor, FIRST_WINDOW, 0)
        try:
            return _quick_row(data, len(data) < FIRST_WINDOW)
        except (Unsure, NeedMore, _Deflated):
            return scan_bytes(OpenFile(descriptor))
    except OSError as error:
        return _unreadable(error)
    finally:
        os.close(descriptor)


def scan_bytes(source: ByteSource) -> Row:
    """The row of any source of bytes."""
    head = b""
    try:
        head = source.read(0, FIRST_WINDOW)
        if not starts_like_dicom(head):
            what = "an empty file" if not head else "no 'DICM' after 128 bytes, and no group 0002 or 0008 at its start"
            return refused_row("not-dicom", f"this is not a DICOM file: {what}", head)
        try:
            return _widening(source)
        except _Deflated as deflated:
            return _inflated_row(source, deflated)
    except Refusal as refusal:
        return refused_row(refusal.code, refusal.message, head)


def refused_row(code: str, message: str, head: bytes = b"") -> Row:
    """A row of nulls with the reason."""
    return (code, message, _digest(head), *[None] * len(_SHOWN))


def _unreadable(error: Exception) -> Row:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return refused_row("missing-file", "the file does not exist")
    reason = os.strerror(number) if number else "its name cannot be used"
    return refused_row("unreadable-file", f"the file cannot be read ({reason}); check its permissions")


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _widening(source: ByteSource) -> Row:
    window = FIRST_WINDOW
    while True:
        data = source.read(0, window)
        whole = len(data) < window
        try:
            return _quick_row(data, whole)
        except NeedMore:
            if whole or window >= LAST_WINDOW:
                return _slow_row(source, data[:FIRST_WINDOW])
            window *= 8
        except Unsure:
            return _slow_row(source, data[:FIRST_WINDOW])


def _quick_row(data: bytes, whole: bool) -> Row:
    """The row of a plain header; `whole` tells that the file ends where `data` does."""
    values: list[bytes | None] = [None] * len(COLUMNS)
    at = 132 if data[128:132] == b"DICM" else 0
    if at == 0 and not starts_like_dicom(data):
        raise Unsure
    at = walk_meta(data, at, _WANTED, values)
    syntax = QUICK[0](values[0])
    if QUICK[_MEDIA_CLASS](values[_MEDIA_CLASS]) == DIRECTORY_CLASS:
        return _row(values, data[:at])
    if syntax == DEFLATED:
        raise _Deflated(at, values)
    group = int.from_bytes(data[at : at + 2], "little")
    if syntax in _OTHER_ORDER or not 0x0002 < group < 0x0100:  # a data set in big endian looks like a group of 0x0800
        raise Unsure
    vr = data[at + 4 : at + 6]
    explicit = is_explicit(data, at)
    if syntax is None:
        values[0] = (EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE).encode()
    if explicit == (syntax == IMPLICIT_LITTLE and syntax is not None) or (not explicit and vr.isalpha() and vr.isupper()):
        raise Unsure  # what is found is not what is said
    return _row(values, data[: _walk(data, at, explicit, values, whole)])


def _walk(data: bytes, at: int, explicit: bool, values: list[bytes | None], whole: bool) -> int:
    try:
        end = (walk_explicit if explicit else walk_implicit)(data, at, _WANTED, values)
    except NeedMore as more:
        if not whole or more.at > len(data):
            raise
        return len(data)
    if whole and end > len(data):
        raise Unsure  # perhaps cut off
    return min(end, len(data))


def _row(values: list[bytes | None], header: bytes) -> Row:
    found = [decode(raw) for decode, raw in zip(QUICK, values, strict=True)]
    if found[_FRAMES] is not None and found[_POSITION] is None:
        raise Unsure  # the position may lie in a functional group
    return _finish(found, header)


_MEDIA_CLASS, _FRAMES, _POSITION = PLACE["_media_class"], PLACE["frames"], PLACE["position"]
_ROWS, _COLUMNS, _CLASS, _INSTANCE = PLACE["rows"], PLACE["columns"], PLACE["sop_class_uid"], PLACE["sop_instance_uid"]
_LATERALITY, _HIDDEN = PLACE["laterality"], len(_SHOWN)


def _finish(found: list[Any], header: bytes) -> Row:
    """Fill in what stands elsewhere, and judge whether it is an image at all."""
    of_series, media_class, media_instance = found[_HIDDEN:]
    del found[_HIDDEN:]
    found[_LATERALITY] = found[_LATERALITY] or of_series
    found[_CLASS] = found[_CLASS] or media_class
    found[_INSTANCE] = found[_INSTANCE] or media_instance
    code = message = None
    if media_class == DIRECTORY_CLASS or found[_CLASS] == DIRECTORY_CLASS:
        code, message = "dicomdir", "a DICOMDIR: an index of files, no image"
    elif not found[_ROWS] or not found[_COLUMNS]:
        code, message = "no-pixels", "(0028,0010) 'Rows' or (0028,0011) 'Columns' is absent or 0: it holds no image"
    elif found[_FRAMES] is None:
        found[_FRAMES] = 1
    return (code, message, _digest(header), *found)


def _inflated_row(source: ByteSource, deflated: _Deflated) -> Row:
    """The row of a deflated data set: only its beginning is inflated."""
    inflated = Prefix(Inflating(source, deflated.at))
    window = FIRST_WINDOW
    while True:
        data = inflated.read(0, window)
        whole, values = len(data) < window, list(deflated.meta)
        try:
            return _row(values, data[: _walk(data, 0, True, values, whole)])
        except (NeedMore, Unsure) as unsure:
            if whole or window >= LAST_WINDOW or isinstance(unsure, Unsure):
                return _slow_row(inflated, data[:FIRST_WINDOW], deflated.meta)
            window *= 8


def _slow_row(source: ByteSource, head: bytes, meta: list[bytes | None] | None = None) -> Row:
    """The row by pydicom's reader; `meta` where the source holds a data set without file meta information."""
    cursor = Cursor(source)
    with quiet() as caught:
        try:
            dataset = _read(cursor, meta is not None)
            end = cursor.tell()
            cut = _cut_element(dataset, source)  # before a value is asked for, which replaces what was read
            groups = first_groups(dataset, cursor, end)
            found = [slow_value(column, _get(dataset, column.tag)) for column in COLUMNS]
            if meta is not None:
                found = [QUICK[place](raw) if raw else value for place, (raw, value) in enumerate(zip(meta, found, strict=True))]
            fill_from_groups(groups, cursor, found)
        except Refusal:
            raise
        except EOFError:
            raise Refusal("truncated", _CUT_OFF.format("it ends within the header")) from None
        except Exception as error:  # a hostile or broken header may raise anything in the parser; its text may hold values
            if cursor.refusal:
                raise cursor.refusal from None
            code = "bad-header" if head[128:132] == b"DICM" else "not-dicom"
            message = f"the header cannot be parsed ({type(error).__name__}); the file is damaged or is not DICOM"
            raise Refusal(code, message) from None
    if any(str(warning.message).startswith(("End of file", "EOF", "Unexpected end", "No tag to read")) for warning in caught):
        raise Refusal("truncated", _CUT_OFF.format("an element ends without its delimiter"))
    if cut:
        raise Refusal("truncated", _CUT_OFF.format(cut))
    if head[128:132] != b"DICM" and meta is None and not found[_CLASS] and not found[_ROWS]:
        raise Refusal("not-dicom", "this is not a DICOM file: no 'DICM' after 128 bytes, and neither SOP class nor rows in it")
    return _finish(found, head)


def _read(cursor: Cursor, bare: bool) -> "Dataset":
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset, read_partial
    from pydicom.uid import UID

    stream: Any = cursor
    if bare:
        return read_dataset(stream, False, True, stop_when=_at_end, defer_size=16 * LONGEST_VALUE)
    dataset = read_partial(stream, stop_when=_at_end, defer_size=16 * LONGEST_VALUE, force=True)
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG)
    return dataset


def _at_end(tag: int, vr: str | None, length: int) -> bool:
    """At the pixels, or at the functional groups of the frames: of thousands only the first is read."""
    return tag in (PER_FRAME, 0x7FE00008, 0x7FE00009, 0x7FE00010)


def _get(dataset: "Dataset", tag: int) -> Any:
    if tag >> 16 == 0x0002:
        dataset = getattr(dataset, "file_meta", None) or dataset
    try:
        element = dataset.get_item(tag, keep_deferred=True)
        if element is None or getattr(element, "length", 0) not in range(LONGEST_VALUE + 1):
            return None
        return dataset[tag].value
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None


def _cut_element(dataset: "Dataset", source: ByteSource) -> str | None:
    """What is cut off, if anything: the last element of a cut file is shorter than its own length says."""
    elements: Iterable[Any] = dataset._dict.values()
    ends = [
        (element.value_tell + element.length, element.tag)
        for element in elements
        if isinstance(getattr(element, "length", None), int) and element.length not in (0, 0xFFFFFFFF)
    ]
    if not len(dataset):
        return "it holds no element after the file meta information"
    end, tag = max(ends, default=(0, 0))
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not all there" if end and not source.read(end - 1, 1) else None
