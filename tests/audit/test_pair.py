import numpy as np
import pytest

import medai.audit.pair
from medai.audit.pair import near_pairs


def _some(count: int, seed: int) -> np.ndarray:
    """Hashes in families: few bits apart within one."""
    random = np.random.default_rng(seed)
    parents = random.integers(0, 2**64, count // 4 + 1, dtype=np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 64, (6, count), dtype=np.uint64), axis=0)
    return np.asarray(parents[random.integers(0, len(parents), count)] ^ flips)


def _found(left: np.ndarray, right: np.ndarray, distance: int, first: int | None = None) -> set[tuple[int, int]]:
    found = [pair for i, j in near_pairs(left, right, distance, first=first) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("distance", [0, 3, 8, 10, 64])
@pytest.mark.parametrize(("rows", "columns"), [(32, 8192), (3, 7), (1, 1)])
def test_every_pair_within_the_distance_is_found_and_no_other(
    monkeypatch: pytest.MonkeyPatch, distance: int, rows: int, columns: int
) -> None:
    monkeypatch.setattr(medai.audit.pair, "ROWS", rows)
    monkeypatch.setattr(medai.audit.pair, "COLUMNS", columns)
    left, right = _some(50, 0), _some(61, 0)
    brute = {(i, j) for i in range(50) for j in range(61) if (int(left[i]) ^ int(right[j])).bit_count() <= distance}
    assert _found(left, right, distance) == brute
    within = {(i, j) for i in range(61) for j in range(i + 1, 61) if (int(right[i]) ^ int(right[j])).bit_count() <= distance}
    assert _found(right, right, distance, first=0) == within
    block = {(i - 20, j) for i, j in within if 20 <= i < 45}
    assert _found(right[20:45], right, distance, first=20) == block


def test_no_hashes_have_no_pairs() -> None:
    assert list(near_pairs(np.empty(0, np.uint64), np.empty(0, np.uint64), 8, first=0)) == []
