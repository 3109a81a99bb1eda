"""Contrast medium in CT slices with and without ImageNet weights: the difference of the AUROCs on the held-out site.

    python benchmarks/pretrained.py SIIM-CT-DICOM --seeds 100 101 102 --threads 2

Two recipes that differ in nothing but the weights they start from (configs/experiment/siim_ct_pretrained.yaml and
siim_ct_scratch.yaml), each trained once a seed; the epoch, the calibration and the threshold are fixed without the held-out
site. Every run is scored there once: a second call goes on from the runs and from the evaluations that are there, and
`looks_at_test` says how often these labels were opened in all.

The pooled difference is the mean over the seeds of AUROC(pretrained) - AUROC(scratch). Its interval comes from a bootstrap
of patients, the same draws for all runs: it says how sure the difference is for other patients, given these trainings. How
much trainings differ among themselves is seen in the values of the seeds.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json
from medai.evaluation.auroc import auroc
from medai.evaluation.bootstrap import Weights, bootstrap, bootstrap_figure, rank_statistic
from medai.evaluation.patient import patients_of

ARMS = ("pretrained", "scratch")
LABEL = "contrast"


def medai(arguments: list[str], threads: int) -> None:
    """Run one command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-m", "medai.cli", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def train_run(path: str, arm: str, seed: int, folder: Path, threads: int, more: list[str]) -> Path:
    """Train, unless the run is there already."""
    run = folder / "runs" / f"{arm}-seed{seed}"
    if not (run / "run.json").exists() or json.loads((run / "run.json").read_text())["status"] != "finished":
        where = [f"folder={run}", f"runs={folder / 'runs'}", f"cohorts={folder / 'cohorts'}"]
        given = [f"experiment=siim_ct_{arm}", f"dataset.path={path}", f"seed={seed}", "workers=0", "tracking=none", *where, *more]
        medai(["train", *given], threads)
    return run


def score_run(run: Path, folder: Path, threads: int) -> Path:
    """Score the held-out site, unless that was done already."""
    results = run / "held-out"
    if not (results / "metrics.json").exists():
        medai(["evaluate", f"candidate={run}", f"cohorts={folder / 'cohorts'}", f"output={results}"], threads)
    return results


def describe(arm: str, seed: int, run: Path, results: Path) -> dict[str, Any]:
    """The raw results of one run."""
    metrics, record = json.loads((results / "metrics.json").read_text()), json.loads((run / "run.json").read_text())
    label = metrics["labels"][LABEL]
    return {
        "arm": arm,
        "seed": seed,
        "seconds": record["seconds"],
        "checkpoint_hash": record["checkpoint_hash"],
        "validation": record["validation"],
        "auroc": label["auroc"],
        "at_threshold": {key: label[key] for key in ("threshold", "accuracy", "sensitivity", "specificity")},
        "looks_at_test": metrics["looks_at_test"],
    }


def scores(results: list[Path]) -> tuple[pl.DataFrame, Float64[np.ndarray, "n r"]]:
    """The cases of the held-out site, and the logits of each run in a column."""
    tables = [pl.read_parquet(result / "predictions.parquet").sort("case_id") for result in results]
    for table in tables[1:]:
        assert table["case_id"].equals(tables[0]["case_id"])
    return tables[0], np.stack([table[f"logit.{LABEL}"].cast(pl.Float64).to_numpy() for table in tables], axis=1)


def compare(
    pretrained: Float64[np.ndarray, "n s"], scratch: Float64[np.ndarray, "n s"], target: Bool[np.ndarray, " n"], cases: pl.DataFrame,
    replicates: int,
) -> dict[str, Any]:  # fmt: skip
    """The difference of each seed, and their mean with its interval."""
    pairs = list(zip(pretrained.T, scratch.T, strict=True))
    values = [auroc(first, target).value - auroc(second, target).value for first, second in pairs]
    rows: Int64[np.ndarray, " n"] = np.arange(len(target))
    ranks = [[rank_statistic(score, target, rows) for score in pair] for pair in pairs]

    def difference(weights: Weights) -> Float64[np.ndarray, "b 1"]:
        of_seeds = [first(weights)[:, :1] - second(weights)[:, :1] for first, second in ranks]
        return sum(of_seeds, np.zeros_like(of_seeds[0])) / len(of_seeds)

    patients = patients_of(cases)
    drawn = bootstrap(patients.cluster, {("difference",): difference}, replicates, seed=0)[("difference",)][:, 0]
    figure = bootstrap_figure(mean(values), len(target), drawn, clustered=patients.repeat, patients=patients.count)
    return {
        "per_seed": values,
        "spread_over_seeds": stdev(values) if len(values) > 1 else None,
        "pooled": asdict(figure),
        "share_of_replicates_above_zero": float(np.mean(drawn[np.isfinite(drawn)] > 0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-pretrained"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "pretrained.json")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--train-only", action="store_true", help="leave the held-out site closed; a second call goes on from the runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of both arms, e.g. training.epochs=1")
    chosen = parser.parse_args()
    wanted = [(arm, seed) for seed in chosen.seeds for arm in ARMS]
    runs = [train_run(chosen.path, arm, seed, chosen.folder, chosen.threads, chosen.set) for arm, seed in wanted]
    if chosen.train_only:
        return
    results = [score_run(run, chosen.folder, chosen.threads) for run in runs]
    raw = [describe(arm, seed, run, result) for (arm, seed), run, result in zip(wanted, runs, results, strict=True)]
    cases, columns = scores(results)
    target = cases[f"target.{LABEL}"].cast(pl.Int64).to_numpy() == 1
    record = {
        "question": "AUROC(pretrained) - AUROC(scratch) for contrast on the held-out site",
        "held_out": {"cases": len(cases), "positive": int(target.sum()), "patients": cases["patient_id"].n_unique()},
        "difference": compare(columns[:, 0::2], columns[:, 1::2], target, cases, chosen.replicates),
        "mean_auroc": {arm: mean(run["auroc"]["value"] for run in raw if run["arm"] == arm) for arm in ARMS},
        "looks_at_test": max(run["looks_at_test"] for run in raw),
        "settings": chosen.set,
        "runs": raw,
        "predictions": {
            "case_id": cases["case_id"].to_list(), "patient_id": cases["patient_id"].to_list(), "target": target.astype(int).tolist(),
            "logit": {f"{arm}-{seed}": columns[:, index].tolist() for index, (arm, seed) in enumerate(wanted)},
        },
        "commit": commit(), "versions": versions(), "hardware": hardware(),
    }  # fmt: skip
    write_json(chosen.output, record)
    print(json.dumps({key: record[key] for key in ("held_out", "difference", "mean_auroc", "looks_at_test")}, indent=2))


if __name__ == "__main__":
    main()
