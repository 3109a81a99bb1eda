"""Native volumes: one Blosc2 array (b2nd) a file, chunked for patches and slices, with checksums behind it.

Chunks of 64 x 64 x 64 voxels in blocks of 16 x 64 x 64, Zstandard 1 after a byte shuffle: of the shapes that were tried, the one
that is near the best for a random patch of 96, for a slice and for the whole. Any Blosc2 reader opens the file; what follows the
array is a table of BLAKE2b checksums (of each chunk, and of the array's own header and index), so that a part is checked without
reading the rest.
"""

import hashlib
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.store.blosc import own_settings

if TYPE_CHECKING:
    import blosc2

CHUNK, BLOCK = (1, 64, 64, 64), (1, 16, 64, 64)  # fixed, so that the bytes do not depend on the machine
MAGIC = b"MDV1"
SPECIAL = 64  # bytes: a longer chunk is no special one (of a single value); shorter ones are checked together with the index
FOOTER = struct.Struct(
    "<4sI3Q16s"
)  # magic, chunks, bytes before the first chunk, bytes to the end of the last, bytes of the array, checksum
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
Slices = Sequence[slice]


def volume_name(name: str) -> str:
    """The file of a volume in a cohort.

    Raises:
        MedaiError: `name` is no plain file name.
    """
    if not _NAME.fullmatch(name):
        raise MedaiError(f"the volume's name is {name!r}; expected letters, digits, '.', '_' and '-'")
    return f"pixels/{name}.b2nd"


def pack_volume(pixels: Shaped[np.ndarray, "C D H W"]) -> bytes:
    """The bytes of a volume's file: equal pixels give equal bytes."""
    import blosc2

    plain = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    if plain.ndim != 4 or not plain.size:
        raise MedaiError(f"the volume is {plain.shape}; expected (C, D, H, W), none of them 0")
    chunks = tuple(min(most, side) for most, side in zip(CHUNK, plain.shape, strict=True))
    blocks = tuple(min(most, side) for most, side in zip(BLOCK, chunks, strict=True))
    how: dict[str, Any] = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
    with own_settings():
        array = blosc2.asarray(plain, chunks=chunks, blocks=blocks, cparams=how)
        frame: bytes = array.to_cframe()
    head = tail = int.from_bytes(frame[11:15], "big")  # a frame's header tells its own length there (Blosc2 frame format)
    table, checked_apart = [], True
    for index in range(array.schunk.nchunks):
        chunk = array.schunk.get_chunk(index)
        table.append(_chunk_digest(chunk))
        checked_apart &= len(chunk) > SPECIAL or frame[tail : tail + len(chunk)] != chunk
        if checked_apart and len(chunk) > SPECIAL:
            tail += len(chunk)
    digests = b"".join(table)
    bare = FOOTER.pack(MAGIC, len(table), head, tail, len(frame), b"\0" * 16)
    return frame + digests + bare[:-16] + _digest(bare, digests, frame[:head], frame[tail:], size=16)


def write_volume(path: Path, pixels: Shaped[np.ndarray, "C D H W"]) -> int:
    """Write a volume atomically; give the bytes of its file.

    Args:
        path: The file, see `volume_name`.
        pixels: Modality values (C, D, H, W) of any number type.
    """
    data = pack_volume(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


@dataclass(frozen=True)
class VolumePixels:
    """Reads the volumes of a cohort, whole or in part. It holds no open file, so it travels to worker processes.

    Args:
        cohort: The cohort's folder.

    Example:
        >>> store = VolumePixels(cohort.path)
        >>> store.read("ct-0001", (slice(None), slice(10, 12))).shape
        (1, 2, 512, 512)
    """

    cohort: Path

    def shape(self, name: str) -> tuple[int, int, int, int]:
        """(C, D, H, W).

        Raises:
            MedaiError: as `read`.
        """
        return self._use(name, lambda array, _: tuple(array.shape))  # type: ignore[no-any-return]

    def read(self, name: str, slices: Slices | None = None) -> Shaped[np.ndarray, "C D H W"]:
        """The voxels of a volume in their own number type.

        Args:
            name: The name that it was written under, as `volume_name` takes it.
            slices: Up to four slices of step 1 over (C, D, H, W); None for all. Only the chunks that they touch are read.

        Raises:
            MedaiError: the file is missing or damaged; it is named.
        """
        return self._use(name, lambda array, table: _checked(array, table, slices))  # type: ignore[no-any-return]

    def _use(self, name: str, work: Any) -> Any:
        path = Path(self.cohort) / volume_name(name)
        try:
            return work(*_open(path))
        except OSError as error:
            raise MedaiError(f"{path} cannot be opened ({error.strerror or error}); restore it, or ingest again") from None
        except (ValueError, RuntimeError, TypeError, struct.error) as error:
            raise MedaiError(f"the volume {name!r} in {path} is damaged ({error}); restore the file, or ingest again") from None


def _open(path: Path) -> "tuple[blosc2.NDArray, bytes]":
    """The array, opened only after its header and index have been checked, and the table of its chunks' checksums."""
    import blosc2

    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size < FOOTER.size:
            raise ValueError(f"{size} bytes are too few for a volume")
        stream.seek(size - FOOTER.size)
        footer = stream.read(FOOTER.size)
        magic, chunks, head, tail, length, checksum = FOOTER.unpack(footer)
        if magic != MAGIC or not 0 < head <= tail <= length or length + 8 * chunks + FOOTER.size != size:
            raise ValueError("it does not end as a volume does")
        stream.seek(0)
        parts = [stream.read(head)]
        stream.seek(tail)
        parts.append(stream.read(length - tail))
        digests = stream.read(8 * chunks)
    if checksum != _digest(footer[:-16] + b"\0" * 16, digests, *parts, size=16):
        raise ValueError("the checksum of its index does not match")
    return blosc2.open(str(path), mode="r", dparams={"nthreads": 1}), digests


def _checked(array: "blosc2.NDArray", digests: bytes, slices: Slices | None) -> Shaped[np.ndarray, "C D H W"]:
    whole = [*(slices or ()), *(slice(None) for _ in array.shape)][: array.ndim]
    spans = [part.indices(side) for part, side in zip(whole, array.shape, strict=True)]
    if any(step != 1 for _, _, step in spans):
        raise MedaiError(f"the slices are {whole}; expected a step of 1")
    touched = [range(start // chunk, -(-max(stop, start) // chunk)) for (start, stop, _), chunk in zip(spans, array.chunks, strict=True)]
    counts = [-(-side // chunk) for side, chunk in zip(array.shape, array.chunks, strict=True)]
    for place in product(*touched):
        index = int(np.ravel_multi_index(place, counts))
        if _chunk_digest(array.schunk.get_chunk(index)) != digests[8 * index : 8 * index + 8]:
            raise ValueError(f"the checksum of chunk {index} does not match")
    return np.asarray(array[tuple(slice(start, max(stop, start)) for start, stop, _ in spans)])


def _chunk_digest(chunk: bytes) -> bytes:
    """A chunk of a single value stands in the index alone, and is made up anew by whoever asks for it."""
    return _digest(chunk, size=8) if len(chunk) > SPECIAL else b"\0" * 8


def _digest(*parts: bytes, size: int) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        digest.update(part)
    return digest.digest()
