import random
import tracemalloc
from collections.abc import Iterator

import pytest

from medai.source.multipart import BrokenBody, boundary_of, read_parts
from tests.source.pacs import BOUNDARY, multipart

PARTS = [b"first", b"\r\n--b0undar", b"a\r\n\r\nb--b0undary--\r\n-", bytes(range(256)) * 40]


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize("preamble", [b"", b"ignored\r\nlines"])
def test_parts_are_the_same_however_the_body_arrives(size: int, preamble: bytes) -> None:
    assert [b"".join(part) for part in read_parts(pieces(preamble + multipart(PARTS), size), BOUNDARY.encode())] == PARTS


def test_a_part_that_is_not_taken_is_skipped() -> None:
    parts = read_parts(pieces(multipart(PARTS), 5), BOUNDARY.encode())
    next(parts)
    assert next(next(parts)) and b"".join(next(parts)) == PARTS[2]


@pytest.mark.parametrize("seed", range(20))
def test_a_body_that_breaks_off_anywhere_never_gives_a_part_that_is_not_whole(seed: int) -> None:
    body = multipart(PARTS)
    end = random.Random(seed).randrange(len(body) - 4)  # before the two hyphens that close it
    whole: list[bytes] = []
    with pytest.raises(BrokenBody):
        whole.extend(b"".join(part) for part in read_parts(pieces(body[:end], 11), BOUNDARY.encode()))
    assert whole == PARTS[: len(whole)]


def test_memory_does_not_grow_with_a_part() -> None:
    def body() -> Iterator[bytes]:
        yield multipart([b"x"]).partition(b"x")[0]
        for _ in range(400):
            yield bytes(2**16)
        yield multipart([])

    tracemalloc.start()
    size = sum(len(piece) for part in read_parts(body(), BOUNDARY.encode()) for piece in part)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 400 * 2**16 and peak < 2**20


def test_headers_that_do_not_end_are_not_collected() -> None:
    with pytest.raises(BrokenBody, match="headers do not end"):
        list(read_parts([b"--x\r\n", *[b"A: b\r\n" * 1000] * 20], b"x"))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/related; type=application/dicom; boundary=a", b"a"),
        ('Multipart/Related; boundary="a b";type="application/dicom"', b"a b"),
        ("multipart/related", None),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_the_boundary_is_read(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary
