"""PneumoniaMNIST: train, score the test split once a seed, export, and hold the ONNX graph against torch on the test split.

    python benchmarks/pneumoniamnist.py PNEUMONIAMNIST.npz --seeds 100 101 102
    python benchmarks/pneumoniamnist.py PNEUMONIAMNIST.npz --auto       # by a plan instead of the recipe; another folder and output

The recipe (configs/experiment/pneumoniamnist.yaml), the epoch, the calibration and the threshold are fixed on validation.
Results go to benchmarks/results/pneumoniamnist.json; `looks_at_test` counts how often the test labels of the cohort were opened.
The published table is that of MedMNIST v2 (Yang et al. 2023).
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from medai.cohort.cohort import Cohort
from medai.config import settings
from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json
from medai.evaluation.auroc import auroc
from medai.export.run import export_candidate
from medai.export.settings import ExportSettings
from medai.inference.candidate import open_candidate
from medai.inference.evaluate import evaluate_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings
from medai.ingest.view import ensure_view
from medai.planning.auto import planned
from medai.training.checkpoint import Checkpoint
from medai.training.train import train

AT_THRESHOLD = ("threshold", "accuracy", "sensitivity", "specificity", "ppv", "npv", "confusion")
PUBLISHED = {"ResNet-50 (224), best ResNet row": [0.962, 0.884], "Google AutoML Vision, best row": [0.991, 0.946]}


def train_seed(path: str, seed: int, folder: Path, workers: int, recipe: list[str]) -> None:
    """Train, unless the run is there already."""
    run = folder / "runs" / f"seed{seed}"
    if (run / "run.json").exists() and json.loads((run / "run.json").read_text())["status"] == "finished":
        return
    arguments = [*recipe, f"dataset.path={path}", f"seed={seed}", f"folder={run}", f"workers={workers}"]
    train(planned(settings("train", [*arguments, f"runs={folder / 'runs'}", f"cohorts={folder / 'cohorts'}"])))


def score_seed(seed: int, folder: Path) -> dict[str, Any]:
    """Score test once, export, compare."""
    run = folder / "runs" / f"seed{seed}"
    results = evaluate_candidate(EvaluateSettings(candidate=str(run), cohorts=str(folder / "cohorts")))
    metrics = json.loads((results / "metrics.json").read_text())
    label = metrics["labels"]["pneumonia"]
    package = export_candidate(ExportSettings(candidate=str(run), cohorts=str(folder / "cohorts")))
    record = json.loads((run / "run.json").read_text())
    return {
        "seed": seed,
        "seconds": record["seconds"],
        "validation": record["validation"],
        "auroc": label["auroc"],
        "at_threshold": {key: label[key] for key in AT_THRESHOLD},
        "looks_at_test": metrics["looks_at_test"],
        "parity_on_test": parity(run, package),
    }


def parity(run: Path, package: Path) -> dict[str, Any]:
    """ONNX on native pixels against torch on native pixels and against torch on the view, on the whole test split.

    Labels are used for the difference of the AUROCs alone.
    """
    cohort = Cohort.open(json.loads((run / "run.json").read_text())["cohort"])
    cases = cohort.select("test")
    torch_outputs = predict_cases(open_candidate(run), cohort, cases).outputs
    onnx_outputs = predict_cases(open_candidate(package), cohort, cases).outputs
    checkpoint = Checkpoint.load(run)
    view = ensure_view(cohort, checkpoint.plan.resize, 0)
    values = torch.from_numpy(view.encoding.decode(view.gather(cases["ordinal"].to_numpy())))
    with torch.inference_mode():
        probability, _, decision = (output.numpy() for output in checkpoint.predictor().from_resized(values))
    target = cases["pneumonia"].to_numpy() == 1
    areas = [auroc(scores[:, 0].astype(np.float64), target).value for scores in (onnx_outputs.probability, probability)]
    return {
        "cases": len(cases),
        "max_probability_difference": float(np.abs(onnx_outputs.probability - torch_outputs.probability).max()),
        "decision_flips": int((onnx_outputs.decision != torch_outputs.decision).sum()),
        "view_auroc_difference": areas[0] - areas[1],
        "view_decision_flips": int((onnx_outputs.decision != decision).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--auto", action="store_true", help="model=auto in place of experiment=pneumoniamnist")
    parser.add_argument("--folder", type=Path, help="of the runs: runs/benchmark-pneumoniamnist, with -auto behind it for --auto")
    parser.add_argument("--output", type=Path, help="results/pneumoniamnist.json beside this file, or pneumoniamnist_auto.json")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--train-only", action="store_true", help="leave the test split closed; a second call goes on from the runs")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    suffix = "-auto" if chosen.auto else ""
    chosen.folder = chosen.folder or Path(f"runs/benchmark-pneumoniamnist{suffix}")
    chosen.output = chosen.output or Path(__file__).parent / "results" / f"pneumoniamnist{suffix.replace('-', '_')}.json"
    recipe = ["model=auto", "dataset=pneumoniamnist"] if chosen.auto else ["experiment=pneumoniamnist"]
    for seed in chosen.seeds:
        train_seed(chosen.path, seed, chosen.folder, chosen.workers, recipe)
    if chosen.train_only:
        return
    seeds = [score_seed(seed, chosen.folder) for seed in chosen.seeds]
    summary = {
        "auroc": mean(seed["auroc"]["value"] for seed in seeds),
        "accuracy": mean(seed["at_threshold"]["accuracy"]["value"] for seed in seeds),
        "seconds": mean(seed["seconds"] for seed in seeds),
    }
    record = {"seeds": seeds, "mean": summary, "published": PUBLISHED, "commit": commit(), "versions": versions(), "hardware": hardware()}
    write_json(chosen.output, record)
    print(json.dumps(record["seeds"], indent=2))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
