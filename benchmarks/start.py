"""How long a person waits for the help: whole processes, the median of several.

    python benchmarks/start.py

Targets: `python train.py --help` under 1.5 s, `medai --help` under 0.5 s. Results go to benchmarks/results/start.json.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "medai --help": [str(Path(sys.executable).with_name("medai")), "--help"],
    "python train.py --help": [sys.executable, "train.py", "--help"],
    "python evaluate.py --help": [sys.executable, "evaluate.py", "--help"],
    "python -c 'import medai'": [sys.executable, "-c", "import medai"],
}


def seconds(command: list[str], runs: int = 7) -> list[float]:
    """Wall seconds of some runs, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    found = {name: seconds(command) for name, command in COMMANDS.items()}
    for name, times in found.items():
        print(f"{name:<28} {median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    write_json(
        Path(__file__).parent / "results" / "start.json",
        {"seconds": found, "commit": commit(), "versions": versions(), "hardware": hardware()},
    )


if __name__ == "__main__":
    main()
