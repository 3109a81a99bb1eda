"""Seeds in every transfer syntax that can be written here, and mutations of them, each a pure function of its number."""

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
IMPLICIT, EXPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
ENCAPSULATED, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
BY_GDCM = (JPEG + "50", JPEG + "51", JPEG + "57", JPEG + "70")
BY_PYDICOM = {RLE: "pylibjpeg", JPEG + "80": "pyjpegls", JPEG + "81": "pyjpegls", JPEG + "90": "pylibjpeg", JPEG + "91": "pylibjpeg"}
_LOSSY: dict[str, dict[str, Any]] = {JPEG + "81": {"jls_error": 2}, JPEG + "91": {"j2k_cr": [4]}}
LOSSLESS = (*NATIVE, ENCAPSULATED, DEFLATED_FRAMES, RLE, JPEG + "57", JPEG + "70", JPEG + "80", JPEG + "90")
SYNTAXES = (*LOSSLESS, JPEG + "50", JPEG + "51", JPEG + "81", JPEG + "91")


def wave(bits: int, signed: bool = False, rows: int = 37, columns: int = 50, colours: int = 0, frames: int = 1) -> np.ndarray:
    """Stored values (F, H, W) or (F, H, W, 3) that use all of `bits`; odd sizes, so that padding shows."""
    shape = (frames, rows, columns, *((colours,) if colours else ()))
    axes = np.indices(shape)
    smooth = (np.sin(axes[2] / 9 + axes[0]) + np.cos(axes[1] / 7 + (axes[3] if colours else 0)) + 2) / 4
    stored = np.rint(smooth * (2**bits - 1)).astype(np.int64)
    stored.flat[0], stored.flat[-1] = 0, 2**bits - 1
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}")
    return (stored - (2 ** (bits - 1) if signed else 0)).astype(dtype)


def data_set(stored: np.ndarray, bits: int | None = None, **attributes: Any) -> pydicom.Dataset:
    """An image of `stored` (F, H, W) or (F, H, W, 3), uncompressed; an attribute that is None is left out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.Modality = "OT"
    colour = stored.ndim == 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    if len(stored) > 1:
        dataset.NumberOfFrames = len(stored)
    dataset.Rows, dataset.Columns = stored.shape[1:3]
    dataset.BitsAllocated, dataset.BitsStored = 8 * stored.itemsize, bits or 8 * stored.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def to_bytes(dataset: pydicom.Dataset, syntax: str = EXPLICIT) -> bytes:
    """A file in `syntax`, of an uncompressed data set in Explicit VR Little Endian."""
    if syntax in BY_GDCM:
        _compress_by_gdcm(dataset, syntax)
    elif syntax in BY_PYDICOM:
        dataset.compress(syntax, encoding_plugin=BY_PYDICOM[syntax], generate_instance_uid=False, **_LOSSY.get(syntax, {}))
    elif syntax in (ENCAPSULATED, DEFLATED_FRAMES):
        size = len(dataset.PixelData) // int(dataset.get("NumberOfFrames", 1))
        frames = [dataset.PixelData[at : at + size] for at in range(0, len(dataset.PixelData) // size * size, size)]
        dataset.PixelData = encapsulate([deflate(frame) if syntax == DEFLATED_FRAMES else frame for frame in frames])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    elif syntax == BIG and dataset.BitsAllocated > 8:
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}").byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    return _save(dataset)


def _save(dataset: pydicom.Dataset) -> bytes:
    """As `save_as`, also where pydicom does not know the syntax."""
    deflated_frames = dataset.file_meta.TransferSyntaxUID == DEFLATED_FRAMES
    if deflated_frames:
        dataset.file_meta.TransferSyntaxUID = ENCAPSULATED
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    data = buffer.getvalue()
    return data.replace(ENCAPSULATED.encode(), DEFLATED_FRAMES.encode() + b"\0", 1) if deflated_frames else data


def _compress_by_gdcm(dataset: pydicom.Dataset, syntax: str) -> None:
    """Only the pixels are taken over: into the header GDCM writes a UID of its own, another in each process."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.dcm"), Path(folder, "b.dcm")
        source.write_bytes(to_bytes(dataset))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change(), f"GDCM cannot write {syntax}"
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        written = pydicom.dcmread(target)
    dataset.PixelData = written.PixelData
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    for keyword in ("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if keyword in written:
            setattr(dataset, keyword, written[keyword].value)


def deflate(data: bytes) -> bytes:
    """A raw deflate stream (PS3.5 A.5)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def palette(bits: int, segmented: bool = False, entries: int = 256, first: int = 0) -> dict[str, Any]:
    """Attributes of a PALETTE COLOR image."""
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for index, colour in enumerate(("Red", "Green", "Blue")):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [entries % 2**16, first, bits]
        top = 2**bits - 1
        if segmented:
            segments = [0, 2, 0, index, 1, entries - 2, top - index]
            attributes[f"Segmented{colour}PaletteColorLookupTableData"] = np.asarray(
                segments, "u1" if bits == 8 else "<u2"
            ).tobytes() + b"\0" * (bits == 8)
        else:
            table = np.roll(np.linspace(0, top, entries), index * 7).astype("u1" if bits == 8 else "<u2")
            attributes[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    return attributes


def modality_lut(entries: int, first: int, bits: int, data: bytes) -> pydicom.Sequence:
    """(0028,3000) of one table."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [entries % 2**16, first, bits])
    item.add_new("LUTData", "OW", data)
    return pydicom.Sequence([item])


def per_frame(scales: list[tuple[str, str]], window: tuple[float, float] | None = None) -> dict[str, Any]:
    """Functional groups with a rescale (and a window) for each frame."""
    groups = []
    for slope, intercept in scales:
        transformation, group = pydicom.Dataset(), pydicom.Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, intercept, "US"
        group.PixelValueTransformationSequence = [transformation]
        if window:
            voi = pydicom.Dataset()
            voi.WindowCenter, voi.WindowWidth = [*window]
            group.FrameVOILUTSequence = [voi]
        groups.append(group)
    return {"PerFrameFunctionalGroupsSequence": pydicom.Sequence(groups)}


@cache
def seeds() -> dict[str, bytes]:
    """Valid files by name: each syntax in grey and in colour, one and several frames, and the pixel formats."""
    made: dict[str, bytes] = {}
    for syntax in SYNTAXES:
        lossy_jpeg = syntax in (JPEG + "50", JPEG + "51")
        bits = 8 if lossy_jpeg else 12
        made[f"grey {syntax}"] = to_bytes(data_set(wave(bits), bits), syntax)
        made[f"frames {syntax}"] = to_bytes(
            data_set(wave(bits, frames=3), bits, **per_frame([("1", "0"), ("2", "5"), ("1", "-7")])), syntax
        )
        made[f"colour {syntax}"] = to_bytes(data_set(wave(8, colours=3)), syntax)
    made["signed"] = to_bytes(data_set(wave(12, signed=True), 12, RescaleSlope="1", RescaleIntercept="-1024"))
    made["bit"] = to_bytes(
        data_set(np.packbits(wave(1).reshape(1, -1), bitorder="little").reshape(1, 1, -1), 1, Rows=37, Columns=50, BitsAllocated=1)
    )
    made["twelve"] = to_bytes(data_set(np.zeros((1, 1, 36 * 50 * 3 // 2), np.uint8), 12, Rows=36, Columns=50, BitsAllocated=12))
    made["float"] = to_bytes(data_set(wave(8), PixelData=None, FloatPixelData=wave(8).astype("<f4").tobytes(), BitsAllocated=32))
    made["lut"] = to_bytes(data_set(wave(8), ModalityLUTSequence=modality_lut(256, 0, 16, np.arange(256, dtype="<u2").tobytes())))
    for bits in (8, 16):
        made[f"palette {bits}"] = to_bytes(data_set(wave(8), **palette(bits)))
        made[f"segmented {bits}"] = to_bytes(data_set(wave(8), **palette(bits, segmented=True, entries=200)))
    made["422"] = to_bytes(
        data_set(wave(8, rows=36), Rows=36, Columns=25, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0)
    )
    made["planar"] = to_bytes(data_set(wave(8, colours=3), PlanarConfiguration=1))
    return made


def mutation(number: int, seed: int = 0) -> tuple[str, bytes]:
    """Mutation `number`: what was done, and the file."""
    draw = np.random.default_rng([seed, number])
    names = sorted(seeds())
    name = names[draw.integers(len(names))]
    kinds = sorted(_MUTATIONS)
    kind = kinds[number % len(kinds)]
    return f"{kind} of {name}", _MUTATIONS[kind](seeds()[name], draw)


def _flip(data: bytes, draw: np.random.Generator, start: int = 0) -> bytes:
    damaged = bytearray(data)
    for place in draw.integers(start, len(data), draw.integers(1, 17)):
        damaged[place] ^= 1 << int(draw.integers(8))
    return bytes(damaged)


def _flip_pixels(data: bytes, draw: np.random.Generator) -> bytes:
    start = max(data.find(b"\xe0\x7f\x10\0"), 132)
    return _flip(data, draw, min(start + 8, len(data) - 1))


def _cut(data: bytes, draw: np.random.Generator) -> bytes:
    return data[: draw.integers(len(data))]


def _length(data: bytes, draw: np.random.Generator) -> bytes:
    """Extreme values where lengths and counts may stand."""
    damaged = bytearray(data)
    for _ in range(draw.integers(1, 4)):
        width = int(draw.choice([2, 4]))
        extreme = [0, 1, 2**15 - 1, 2**16 - 2, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1][draw.integers(9)] % 2 ** (8 * width)
        place = int(draw.integers(66, len(data) // 2 - 2)) * 2
        damaged[place : place + width] = extreme.to_bytes(width, "little")
    return bytes(damaged)


def _splice(data: bytes, draw: np.random.Generator) -> bytes:
    start, target, length = draw.integers(0, len(data), 3)
    return data[:target] + data[start : start + length % 500] + data[target:]


def _header(change: Callable[[pydicom.Dataset, np.random.Generator], None]) -> Callable[[bytes, np.random.Generator], bytes]:
    def mutate(data: bytes, draw: np.random.Generator) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(data))
        change(dataset, draw)
        return _save(dataset)

    return mutate


def _size(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    sizes = [(65535, 65535), (8192, 8192), (20000, 3000), (1, 65535), (60000, 1), (0, 5), (16384, 4096), (11000, 11000)]
    dataset.Rows, dataset.Columns = sizes[draw.integers(len(sizes))]


def _form(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    keyword = ["BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation", "PlanarConfiguration"][draw.integers(6)]
    setattr(dataset, keyword, int(draw.choice([0, 1, 2, 3, 4, 7, 9, 12, 15, 16, 24, 31, 32, 33, 64, 128, 65535])))
    if draw.random() < 0.5:
        kinds = ["MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "HSV"]
        dataset.PhotometricInterpretation = kinds[draw.integers(len(kinds))]


def _many_frames(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    dataset.NumberOfFrames = int(draw.choice([0, 2, 3, 4, 1000, 10**5, 10**9, 2**31 - 1]))


def _tables(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    entries, first, bits = (int(draw.choice(values)) for values in ([0, 1, 255, 256, 65535], [0, 1, 1000, 65535], [0, 1, 8, 12, 16, 32]))
    data = draw.integers(0, 256, 2 * int(draw.choice([0, 1, 100, 256, 65536])), dtype=np.uint8).tobytes()
    if draw.random() < 0.3:
        dataset.ModalityLUTSequence = modality_lut(entries, first, bits, data)
        return
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    if draw.random() < 0.5:  # segments that expand without end
        data = np.asarray([0, 1, 7] + [1, 65535, 9, 1, 65535, 8] * 5000 + [2, 65535, 6, 0] * 5000, "<u2").tobytes()
        bits = int(draw.choice([8, 16]))
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [entries, first, bits])
        setattr(dataset, f"{'Segmented' if draw.random() < 0.7 else ''}{colour}PaletteColorLookupTableData", data)


def _fragments(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    """Offset tables that lie, fragments without end or without bytes."""
    table = draw.integers(0, 2**32, int(draw.choice([0, 1, 3, 50000])), dtype=np.uint32).tobytes()
    pieces = [b"\xfe\xff\x00\xe0" + struct.pack("<I", len(table)) + table]
    count = int(draw.choice([0, 1, 3, 200_000]))
    if dataset.file_meta.TransferSyntaxUID not in NATIVE and count < 10:
        pieces.append(bytes(dataset.PixelData)[8:])
    pieces.append((b"\xfe\xff\x00\xe0" + struct.pack("<I", 0)) * count)
    if draw.random() < 0.5:
        dataset.NumberOfFrames = int(draw.choice([1, 3, 200_000]))
    if draw.random() < 0.3:
        dataset.ExtendedOffsetTable = dataset.ExtendedOffsetTableLengths = draw.integers(0, 2**63, 3, dtype=np.uint64).tobytes()
    if dataset.file_meta.TransferSyntaxUID in NATIVE:
        dataset.file_meta.TransferSyntaxUID = RLE
    dataset.PixelData = b"".join(pieces)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True


def _groups(dataset: pydicom.Dataset, draw: np.random.Generator) -> None:
    for keyword, value in per_frame([("0", "1"), ("1e308", "1e308"), ("-1", "nan")][: draw.integers(1, 4)]).items():
        setattr(dataset, keyword, value)
    dataset.NumberOfFrames = int(draw.choice([1, 2, 3, 10]))


def _nested(data: bytes, draw: np.random.Generator) -> bytes:
    """Sequences in sequences, of undefined or of lying length, ahead of the data set of an explicit file."""
    depth = int(draw.choice([10, 100, 900, 5000, 10_000]))
    length = struct.pack("<I", int(draw.choice([0xFFFFFFFF, 0xFFFFFFFF, 0x7FFFFFF0, 64])))
    opening = b"\x40\x00\x30\xa7SQ\0\0" + length + b"\xfe\xff\x00\xe0" + b"\xff\xff\xff\xff"
    data = seeds()["grey " + EXPLICIT]
    start = data.index(b"\x08\0\x16\0UI")
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * int(draw.choice([0, depth]))
    return data[:start] + opening * depth + closing + data[start:]


def _deflate_bomb(data: bytes, draw: np.random.Generator) -> bytes:
    size = int(draw.choice([2**20, 2**26, 2**28 + 10]))
    if draw.random() < 0.3:
        return _bomb_of_frames(size)
    return _bomb(size, bool(draw.integers(2)))


@cache
def _bomb(size: int, in_pixels: bool) -> bytes:
    data = seeds()["grey " + DEFLATED]
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    plain = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    tag = b"\xe0\x7f\x10\0OB" if in_pixels else b"\x09\0\x10\x10OB"
    body = plain[: plain.index(b"\xe0\x7f\x10\0")] if in_pixels else plain
    return data[:start] + deflate(body + tag + b"\0\0" + struct.pack("<I", size) + bytes(size))


@cache
def _bomb_of_frames(size: int) -> bytes:
    dataset = data_set(wave(8), Rows=8000, Columns=8000)
    dataset.PixelData = bytes(size)
    return to_bytes(dataset, DEFLATED_FRAMES)


def _codestream(data: bytes, draw: np.random.Generator) -> bytes:
    """A giant size that header and codestream agree on, so that only the decoder can tell that the stream is too short."""
    rows, columns = [(8192, 8192), (65535, 1000), (10000, 6000), (11000, 11000), (5000, 5000)][draw.integers(5)]
    dataset = pydicom.dcmread(io.BytesIO(data))
    pixels = bytearray(dataset.PixelData if "PixelData" in dataset else b"")
    start = pixels.find(b"\xff\x4f\xff\x51")
    if start >= 0:
        for at, value in ((8, columns), (12, rows), (24, columns), (28, rows)):
            pixels[start + at : start + at + 4] = value.to_bytes(4, "big")
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7"):
        place = pixels.find(marker)
        if place >= 0:
            pixels[place + 5 : place + 9] = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
            break
    dataset.Rows, dataset.Columns = rows, columns
    if pixels:
        dataset.PixelData = bytes(pixels)
    return _save(dataset)


def _crowd(data: bytes, draw: np.random.Generator) -> bytes:
    """Very many small elements."""
    data = seeds()["grey " + EXPLICIT]
    start = data.index(b"\x08\0\x16\0UI")
    count = int(draw.choice([1000, 100_000, 1_500_000]))
    tags = np.arange(count, dtype=np.uint32)
    crowd = np.zeros((count, 4), "<u2")
    crowd[:, 0], crowd[:, 1] = 9 + 2 * (tags >> 15), tags & 0x7FFF
    crowd[:, 2] = int.from_bytes(b"LO", "little")
    return data[:start] + crowd.tobytes() + data[start:]


_MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "codestream": _codestream,
    "crowd": _crowd,
    "cut": _cut,
    "deflate bomb": _deflate_bomb,
    "flip": _flip,
    "flip in pixels": _flip_pixels,
    "flip more in pixels": _flip_pixels,
    "form": _header(_form),
    "fragments": _header(_fragments),
    "frames": _header(_many_frames),
    "groups": _header(_groups),
    "length": _length,
    "length again": _length,
    "nested": _nested,
    "size": _header(_size),
    "splice": _splice,
    "tables": _header(_tables),
}
