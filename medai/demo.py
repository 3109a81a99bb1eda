"""`make demo`: the whole way on the embedded data set, in one process, since importing MONAI and torch takes ten seconds.

The same commands a person types: train, evaluate, export, verify, predict.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from medai.cli import main as medai
from medai.core.progress import say


def demo(arguments: Sequence[str] = ()) -> int:
    """Go the whole way; give the exit code.

    Args:
        arguments: Settings of the training, as for `medai train`.
    """
    from medai.config import settings

    start = time.monotonic()
    chosen = settings("train", arguments)
    run, cohorts = Path(chosen.folder), f"cohorts={chosen.cohorts}"
    package, results = run / "package", run / "evaluation" / "test"
    steps: list[tuple[str, list[str]]] = [
        ("Ingest the embedded data set and train on it", ["train", *arguments, f"folder={run}", "export=false"]),
        ("Evaluate on the held-out split", ["evaluate", f"candidate={run}", f"output={results}", cohorts]),
        ("Export: one ONNX graph, proved against torch", ["export", f"candidate={run}", f"output={package}", cohorts]),
        ("Verify the export with the torch-free runtime", ["verify", str(package)]),
    ]
    for number, (title, command) in enumerate(steps, 1):
        if code := _step(f"{number} of {len(steps) + 1}  {title}", command):
            return code
    image = next(iter(sorted(Path(chosen.dataset["path"]).rglob("*.dcm"))), None)
    if image is None:
        say(f"medai: there is no DICOM file in {chosen.dataset['path']} to predict")
        return 2
    if code := _step(f"{len(steps) + 1} of {len(steps) + 1}  Predict one image", ["predict", str(package), str(image)]):
        return code
    _conclude(results / "report.html", package, Path(chosen.runs), time.monotonic() - start)
    return 0


def _step(title: str, command: list[str]) -> int:
    print(f"\n== {title}\n   medai {shlex.join(command)}\n", flush=True)
    return medai(command)


def _conclude(report: Path, package: Path, runs: Path, seconds: float) -> None:
    print(f"""
The whole way took {seconds:.0f} s.

report       {report}
package      {package}
tracking     mlflow ui --backend-store-uri sqlite:///{(runs / "mlflow.db").resolve()}

next         python train.py dataset=folder dataset.path=YOUR_IMAGES     train on your own pictures: a folder a class
             python train.py -m model=residual_small,resnet18 seed=0,1   a sweep, compared in MLflow
             python evaluate.py predictions=YOUR_SCORES.csv              benchmark any model's table of predictions""")


if __name__ == "__main__":
    sys.exit(demo(sys.argv[1:]))
