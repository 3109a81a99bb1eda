import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "training.py"


def test_a_part_of_the_benchmark_runs_in_its_own_process_and_tells_what_with(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "g", "--quick", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    record, _ = json.JSONDecoder().raw_decode(done.stdout)
    part = record["parts"]["g"]
    assert part["status"] == "finished" and part["quick"] is True
    assert part["versions"]["torch"] and part["versions"]["torchvision"] == "not installed"
    assert part["machine"]["cores"] >= 1 and part["notes"]


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "z"], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2 and "there is no part 'z'" in done.stderr


def test_the_pinned_peers_need_no_torchvision() -> None:
    pins = [line.split("==")[0] for line in (ROOT / "benchmarks" / "training-requirements.txt").read_text().splitlines() if "==" in line]
    assert {"litdata", "webdataset", "lmdb", "lightning", "pytorch-ignite"} <= set(pins) and "torchvision" not in pins
