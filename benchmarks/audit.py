"""All pairs of perceptual hashes at the size of a facility: time and memory, against whole rows of plain numpy.

    python benchmarks/audit.py            135,000 hashes; some minutes
    python benchmarks/audit.py --quick    5,000

Three measurements, each in a process of its own, so that its peak of memory is its own: every pair of hashes once by tiles
(`near_pairs`), the same by whole rows, and the whole search for near-duplicates on thumbnails (hashes of all windows, overlay,
registration) with planted copies. Results go to benchmarks/results/audit.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from medai.audit.near import DISTANCE, suspect
from medai.audit.pair import near_pairs
from medai.audit.phash import SIDE, cut, hashes
from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json

CASES, QUICK = 135_000, 5_000
PLANTED = 1_000  # copies, each of another image
COMMON = 0.88  # of an image is what all have in common: as many pairs are near then as of real chest radiographs, 1 in 1,000
NAIVE_ROWS = 8  # at a time
KINDS = ("tiles", "rows", "search")


def thumbnails(count: int, planted: int) -> np.ndarray:
    """Pictures of one kind (a common shape and an own part), the last `planted` of them crops of the first, brightened."""
    random = np.random.default_rng(0)
    soft = np.exp(-0.5 * ((np.arange(SIDE)[:, None] - np.arange(SIDE)) / 1.5) ** 2).astype(np.float32)

    def shapes(number: int) -> np.ndarray:
        drawn = soft @ random.normal(size=(number, SIDE, SIDE)).astype(np.float32) @ soft
        return np.asarray(drawn / drawn.std(axis=(1, 2), keepdims=True))

    common, found = COMMON * shapes(1), np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, 4096):
        some = common + shapes(min(4096, count - start))
        found[start : start + 4096] = np.clip(128 + 36 * some, 1, 255)
    half = random.uniform(0, 0.05, (planted, 2))
    for place, (top, left) in enumerate(half):
        crop = cut(top, 0.95) @ found[place].astype(np.float32) @ cut(left, 0.95).T
        found[count - planted + place] = np.clip(crop * random.uniform(0.85, 1.15), 1, 255)
    return found


def tiles(found: np.ndarray) -> dict[str, Any]:
    hashed = hashes(found)
    start = time.perf_counter()
    pairs = sum(len(i) for i, _ in near_pairs(hashed, hashed, DISTANCE, first=0))
    return {"seconds": time.perf_counter() - start, "pairs": pairs, "compared": len(hashed) * (len(hashed) - 1) // 2}


def rows(found: np.ndarray) -> dict[str, Any]:
    """Every hash against all others, each pair twice, as one writes it first."""
    hashed, pairs = hashes(found), 0
    start = time.perf_counter()
    for top in range(0, len(hashed), NAIVE_ROWS):
        near = np.bitwise_count(hashed[top : top + NAIVE_ROWS, None] ^ hashed[None]) <= DISTANCE
        i, j = np.nonzero(near)
        pairs += int((j > i + top).sum())
    return {"seconds": time.perf_counter() - start, "pairs": pairs, "compared": len(hashed) ** 2}


def search(found: np.ndarray) -> dict[str, Any]:
    planted = min(PLANTED, len(found) // 10)
    start = time.perf_counter()
    suspects, _ = suspect(found)
    seconds = time.perf_counter() - start
    pairs = set(zip(suspects.first.tolist(), suspects.second.tolist(), strict=True))
    copies = sum(
        (place, len(found) - planted + place) in pairs or (len(found) - planted + place, place) in pairs for place in range(planted)
    )
    compared = len(found) * (len(found) - 1) // 2
    return {"seconds": seconds, "pairs": len(pairs), "compared": compared, "planted": planted, "planted_found": copies}


def measure(kind: str, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--kind", kind, "--cases", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(kind: str, count: int) -> None:
    found = thumbnails(count, min(PLANTED, count // 10))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {"tiles": tiles, "rows": rows, "search": search}[kind](found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(said | {"peak_mib": round(peak / 1024), "peak_before_mib": round(before / 1024)}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kind", choices=KINDS, help="one measurement in this process")
    parser.add_argument("--cases", type=int, default=None)
    options = parser.parse_args()
    count = options.cases or (QUICK if options.quick else CASES)
    if options.kind:
        one(options.kind, count)
        return
    found = {kind: measure(kind, count) for kind in KINDS}
    print(f"{count:,} images, within {DISTANCE} bits\n{'':<8}{'seconds':>10}{'pairs compared':>18}{'found':>12}{'peak MiB':>10}")
    for kind, said in found.items():
        print(f"{kind:<8}{said['seconds']:>10.1f}{said['compared']:>18,}{said['pairs']:>12,}{said['peak_mib']:>10,}")
    said = found["search"]
    print(f"planted copies found: {said['planted_found']:,} of {said['planted']:,}")
    print(f"tiles against rows: {found['rows']['seconds'] / found['tiles']['seconds']:.1f} times as fast")
    if options.quick:
        return
    record = {"cases": count, "distance": DISTANCE, "found": found, "commit": commit(), "versions": versions(), "hardware": hardware()}
    write_json(Path(__file__).parent / "results" / "audit.json", record)


if __name__ == "__main__":
    main()
