"""How fast the phantom is written as DICOM files, and how much memory that takes: one process, 256 x 256.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py

Target: at least 100 images/s a core, and memory that does not grow with the count. Results go to benchmarks/results/phantom.json.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json

CODE = """
import json, resource, sys, time
from pathlib import Path
from medai.source.phantom.write import PhantomSettings, write_phantom
start = time.perf_counter()
write_phantom(Path(sys.argv[1]), PhantomSettings(count=int(sys.argv[2]), size=int(sys.argv[3])), workers=1)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measure(count: int, size: int) -> dict[str, Any]:
    """Write `count` images in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, "-c", CODE, f"{folder}/phantom", str(count), str(size)]
        result = subprocess.run(arguments, check=True, capture_output=True, text=True)
    found = json.loads(result.stdout.splitlines()[-1])
    return {"count": count, "size": size, **found, "images_per_second": count / found["seconds"]}


def main() -> None:
    measured = [measure(1_500, 256), measure(1_000, 64), measure(10_000, 64)]
    for row in measured:
        print(f"{row['count']:>7,} images of {row['size']}: {row['images_per_second']:.0f} images/s, peak {row['peak_mb']:.0f} MB")
    record = {"measured": measured, "commit": commit(), "versions": versions(), "hardware": hardware()}
    write_json(Path(__file__).parent / "results" / "phantom.json", record)


if __name__ == "__main__":
    main()
