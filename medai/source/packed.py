"""A table of very many rows in memory, in compressed pieces: names of files lie side by side and differ in a few characters."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Integer

PIECE = 2**14  # rows


@dataclass(frozen=True)
class Packed:
    """Rows that are looked at a piece at a time.

    Attributes:
        pieces: PIECE rows each, the last perhaps fewer; Arrow IPC, compressed.
        schema: Of each.
        height: How many rows there are.
    """

    pieces: tuple[bytes, ...]
    schema: pl.Schema
    height: int

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Packed":
        """Pack a table.

        Example:
            >>> Packed.of(pl.DataFrame({"item": ["a", "b", "c"]})).take(np.array([2, 0]))["item"].to_list()
            ['c', 'a']
        """
        return cls(tuple(_pack(piece) for piece in table.iter_slices(PIECE) if piece.height), table.schema, table.height)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The pieces, one after another."""
        return (_unpack(piece) for piece in self.pieces)

    def take(self, rows: Integer[np.ndarray, " N"]) -> pl.DataFrame:
        """Some rows, in the order in which they are named."""
        number = rows // PIECE
        order = np.argsort(number, kind="stable")
        found = [self.schema.to_frame()]
        for piece, places in runs(number[order], rows[order] % PIECE):
            found.append(_unpack(self.pieces[piece])[places])
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pl.concat(found)[back]


def runs(number: Integer[np.ndarray, " N"], values: Integer[np.ndarray, " N"]) -> Iterable[tuple[int, Integer[np.ndarray, " n"]]]:
    """The values of each distinct number; the numbers are sorted."""
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    return ((int(number[start]), part) for start, part in zip(starts, np.split(values, starts[1:]), strict=True)) if len(number) else ()


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows alone: some rows of a large table keep all its texts in memory, until they are copied."""
    return _unpack(_pack(frame))


def _pack(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


def _unpack(piece: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(piece))
