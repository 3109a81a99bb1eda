"""What 500 adaptive submissions to a sealed test set gain, with the Ladder and without.

    python benchmarks/ladder.py            some minutes
    python benchmarks/ladder.py --quick    a smaller test set, fewer submissions

An attacker holds a candidate of AUROC 0.85 (or one that knows nothing, 0.5) and submits changes of it that are drawn without the
labels, so that every gain is false. Three attacks (boosting, blocks of cases, hill climbing), three test sets of each of two sizes.
A gain is the larger of two: by how much the released figure rose above that of the honest candidate, and by how much the AUROC
behind it did. Results go to benchmarks/results/ladder.json.
"""

import argparse
import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json
from medai.seal.attack import ATTACKS, SealedOracle, facility

SUBMISSIONS, QUICK_SUBMISSIONS = 500, 100
SIZES = ((35_000, 0.10, (None, 0.01, 0.02)), (5_000, 0.10, (None, 0.02, 0.05)))  # cases, prevalence, eta
QUICK_SIZES = ((2_000, 0.10, (None, 0.05)),)
AREAS = (0.85, 0.5)
SEEDS = (11, 12, 13)  # each another test set and another attacker
PLACE = Path(__file__).with_name("results")


def attacked(cases: int, prevalence: float, area: float, eta: float | None, name: str, submissions: int) -> dict[str, Any]:
    start, outcomes, events = time.perf_counter(), [], 0
    for seed in SEEDS:
        truth, score = facility(cases, prevalence, area, seed)
        outcomes.append(ATTACKS[name](SealedOracle(truth, eta), score, submissions, seed))
        events = int(truth.sum())
    gains = [outcome.gain for outcome in outcomes]
    row: dict[str, Any] = {"cases": cases, "events": events, "candidate": area, "ladder": eta, "attack": name}
    row |= {"mean_gain": sum(gains) / len(gains), "largest_gain": max(gains), "seconds": time.perf_counter() - start}
    return row | {"outcomes": [asdict(outcome) | {"gain": outcome.gain} for outcome in outcomes]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    submissions, sizes = (QUICK_SUBMISSIONS, QUICK_SIZES) if chosen.quick else (SUBMISSIONS, SIZES)
    rows = []
    print(f"{'cases':>7} {'events':>7} {'candidate':>9} {'ladder':>7} {'attack':<14} {'mean gain':>10} {'largest':>8}")
    for cases, prevalence, etas in sizes:
        for area, eta, name in itertools.product(AREAS, etas, ATTACKS):
            row = attacked(cases, prevalence, area, eta, name, submissions)
            rows.append(row)
            head = f"{cases:>7,} {row['events']:>7,} {area:>9g} {'none' if eta is None else eta:>7} {name:<14}"
            print(f"{head} {row['mean_gain']:>10.4f} {row['largest_gain']:>8.4f}", flush=True)
    record = {
        "submissions": submissions,
        "seeds": list(SEEDS),
        "rows": rows,
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
    }
    write_json(PLACE / ("ladder_quick.json" if chosen.quick else "ladder.json"), record)


if __name__ == "__main__":
    main()
