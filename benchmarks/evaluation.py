"""How fast, how exact and how large the bootstrap is at the size of a city's test set, beside the naive loop over scikit-learn.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py        (needs scikit-learn, which medai does without)

Bootstrap: 35,000 cases of about 20,000 patients, 14 labels, 2,000 replicates of AUROC, average precision, Brier score and sensitivity,
patients drawn whole within strata. Ours runs in a process of its own, whose peak of memory is recorded; best and median of 3. The peer
draws the same patients, gathers their cases and calls scikit-learn a label and figure; it is timed on 20 replicates and extrapolated.
Both are compared on these: the largest difference of any value. Targets: at least 50 times as fast (aim: 100), below 60 s and 1 GiB.
DeLong: AUROC with its variance on the 14 labels against `roc_auc_score` without one. Target: no slower. Processor seconds are recorded
beside the clock, since a busy machine stretches the one and hardly the other. Results go to benchmarks/results/evaluation.json.

    --quick     few cases and replicates, nothing is recorded: does it run?
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3
NAIVE_REPLICATES = 20
THRESHOLD = 0.3
FIGURES = ("auroc", "average precision", "Brier", "sensitivity")


@dataclass(frozen=True)
class Size:
    cases: int = 35_000
    patients: int = 20_000
    labels: int = 14
    replicates: int = 2_000


@dataclass(frozen=True)
class Data:
    cluster: np.ndarray  # (n,)
    target: np.ndarray  # (labels, n)
    score: np.ndarray  # (labels, n), every second label in steps of 1/1000, so with many ties


def make(size: Size) -> Data:
    random = np.random.default_rng(0)
    cluster = np.unique(random.integers(0, size.patients, size.cases), return_inverse=True)[1]
    target = random.random((size.labels, size.cases)) < np.geomspace(0.005, 0.2, size.labels)[:, None]
    score = 1 / (1 + np.exp(2 - random.normal(size=target.shape) - 1.8 * target))
    score[::2] = np.round(score[::2], 3)
    return Data(cluster, target, score)


def replicates(data: Data, count: int) -> dict[Any, np.ndarray]:
    """Ours, from the arrays to all replicates."""
    from medai.evaluation.bootstrap import bootstrap, event_strata, mean_statistic, rank_statistic, ratio_statistic

    rows, wanted = np.arange(len(data.cluster)), {}
    for name, (target, score) in enumerate(zip(data.target, data.score, strict=True)):
        wanted[str(name), "rank"] = rank_statistic(score, target, rows)
        wanted[str(name), "brier"] = mean_statistic(((score - target) ** 2)[:, None], rows, len(rows))
        wanted[str(name), "sensitivity"] = ratio_statistic((score >= THRESHOLD) & target, target, rows, len(rows))
    return bootstrap(data.cluster, wanted, count, 0, strata=event_strata(data.cluster, data.target.any(axis=0)))


def ours(size: Size) -> dict[str, float]:
    """In a process of its own: seconds and processor seconds without imports, and the peak of its memory."""
    data = make(size)
    replicates(data, 2)
    start, processor = time.perf_counter(), time.process_time()
    replicates(data, size.replicates)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor_seconds": processor, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def naive(data: Data, count: int) -> tuple[dict[str, float], np.ndarray]:
    """Seconds of the loop over scikit-learn by figure, and its values (count, labels, figures)."""
    from sklearn.metrics import average_precision_score, brier_score_loss, recall_score, roc_auc_score

    from medai.evaluation.bootstrap import event_strata
    from medai.evaluation.resample import Population, drawn_counts

    calls: dict[str, Callable[..., Any]] = {
        "auroc": roc_auc_score,
        "average precision": average_precision_score,
        "Brier": brier_score_loss,
        "sensitivity": lambda truth, score: recall_score(truth, score >= THRESHOLD),
    }
    population = Population.of(data.cluster, event_strata(data.cluster, data.target.any(axis=0)))
    members = np.split(np.argsort(data.cluster, kind="stable"), np.cumsum(np.bincount(data.cluster))[:-1])
    drawn = drawn_counts(population, range(count), 0)
    seconds, found = dict.fromkeys(("gather", *FIGURES), 0.0), np.empty((count, len(data.target), len(FIGURES)))
    for row in range(count):
        picks = np.repeat(np.arange(population.patients), drawn[:, row])
        start = time.perf_counter()
        rows = np.concatenate([members[patient] for patient in picks])
        seconds["gather"] += time.perf_counter() - start
        for label in range(len(data.target)):
            truth, score = data.target[label, rows], data.score[label, rows]
            for column, figure in enumerate(FIGURES):
                start = time.perf_counter()
                found[row, label, column] = calls[figure](truth, score)
                seconds[figure] += time.perf_counter() - start
    return seconds, found


def difference(data: Data, found: np.ndarray) -> dict[str, float]:
    """The largest difference between ours and scikit-learn on the same draws."""
    drawn = replicates(data, len(found))
    labels = range(len(data.target))
    values = np.stack([np.column_stack([drawn[str(k), part] for part in ("rank", "brier", "sensitivity")]) for k in labels], axis=1)
    return {figure: float(np.abs(values - found)[..., column].max()) for column, figure in enumerate(FIGURES)}


def delong(data: Data) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    from medai.evaluation.auroc import auroc

    raw: dict[str, list[float]] = {"delong": [], "roc_auc_score": []}
    calls = {"delong": lambda target, score: auroc(score, target).value, "roc_auc_score": roc_auc_score}
    for _ in range(2 * ROUNDS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            for target, score in zip(data.target, data.score, strict=True):
                call(target, score)
            raw[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in raw.items()}
    apart = max(
        abs(auroc(score, target).value - roc_auc_score(target, score)) for target, score in zip(data.target, data.score, strict=True)
    )
    return {"seconds": raw, "median": median, "ratio": median["roc_auc_score"] / median["delong"], "difference": float(apart)}


def measure(size: Size, naive_replicates: int) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = [pool.submit(ours, size).result() for _ in range(ROUNDS)]
    data = make(size)
    seconds, found = naive(data, naive_replicates)
    peer = sum(seconds.values()) / naive_replicates * size.replicates
    own = {"best": min(run["seconds"] for run in runs), "median": statistics.median(run["seconds"] for run in runs)}
    record: dict[str, Any] = {
        "size": asdict(size), "events": data.target.sum(axis=1).tolist(), "patients": int(data.cluster.max()) + 1,
        "runs": runs, "ours": own,
        "naive": {"replicates": naive_replicates, "seconds": seconds, "extrapolated": peer},
        "ratio": {key: peer / value for key, value in own.items()},
        "processor_ratio": peer / min(run["processor_seconds"] for run in runs),
        "difference": difference(data, found), "delong": delong(data),
    }  # fmt: skip
    report(size, record)
    return record


def report(size: Size, record: dict[str, Any]) -> None:
    runs, own, peer, timed = record["runs"], record["ours"], record["naive"], record["delong"]
    least, peak = min(run["processor_seconds"] for run in runs), max(run["peak_mb"] for run in runs)
    parts = ", ".join(f"{name} {1000 * value / peer['replicates']:.0f}" for name, value in peer["seconds"].items())
    median = {name: f"{1000 * value:.1f} ms" for name, value in timed["median"].items()}
    print(f"{size.replicates:,} replicates of {size.cases:,} cases x {size.labels} labels x 4 figures")
    print(f"ours         {own['best']:.2f} s best, {own['median']:.2f} s median; {least:.2f} processor s")
    print(f"             {1000 * own['median'] / size.replicates:.2f} ms a replicate, peak {peak:.0f} MB")
    print(f"scikit-learn {peer['extrapolated']:.0f} s, extrapolated from {peer['replicates']}; ms a replicate: {parts}")
    print(f"ratio        {record['ratio']['median']:.0f} (by processor time of all our threads {record['processor_ratio']:.0f})")
    print("difference   " + ", ".join(f"{name} {value:.1e}" for name, value in record["difference"].items()))
    print(f"DeLong       {median['delong']}, roc_auc_score {median['roc_auc_score']}: {timed['ratio']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    from medai.core.environment import commit, hardware, versions
    from medai.core.file import write_json

    measured = measure(Size(4_000, 2_500, 3, 100), 2) if chosen.quick else measure(Size(), NAIVE_REPLICATES)
    record = measured | {"commit": commit(), "versions": versions(), "hardware": hardware()}
    if chosen.quick:
        print(json.dumps(record)[:200])
    else:
        write_json(Path(__file__).parent / "results" / "evaluation.json", record)


if __name__ == "__main__":
    main()
