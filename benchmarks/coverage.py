"""How often 95 % intervals hold the truth, in simulated test sets whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py

The predicted logit of a case is normal with standard deviation 1.5, its truth is drawn from a calibration line of slope 0.8, so that the
model is somewhat over-confident; the true AUROC, sensitivity, average precision and Brier score are integrals of that. Where patients
repeat, the cases of one share part of both (normal copulas), which leaves the truths as they are. 10,000 test sets for closed forms, 1,000
for the bootstrap with 2,000 replicates; about ten minutes on two cores. Beside a coverage stands its Monte Carlo standard error. An
interval that is not given counts as a miss.

The AUROC has scenarios of its own (auroc_coverage.py): few events, areas up to 0.98, unequal variances, ties, patients with 1 to 6
cases; 10,000 test sets each, 4,000 where patients repeat. Its interval was chosen on some of them and confirmed once on the others.

Target: 93 to 97 %. Strata ("patients with any event") are shown beside the plain draw: the prevalence of these test sets is a matter of
chance, which strata leave out. Results go to benchmarks/results/coverage.json.

    --quick     few test sets, nothing is recorded: does it run?
    --part …    some parts alone; what is recorded of the others stays
"""

import argparse
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr

CORES = os.cpu_count() or 1
SPREAD, SLOPE, THRESHOLD = 1.5, 0.8, 0.3
REPLICATES = 2_000
CHUNK = 25
PARTS = ("closed forms", "bootstrap", "auroc")
Interval = tuple[float | None, float | None]
Tally = dict[tuple[str, str], defaultdict[str, float]]  # by (figure, method): fates of the intervals, and the sum of their widths


@dataclass(frozen=True)
class Scenario:
    """A test set: its cases, the mean logit (which sets the prevalence), cases a patient, and how alike they are."""

    name: str
    cases: int
    mean: float
    cases_of_patient: int = 1
    alike: float = 0.0


SCENARIOS = (
    Scenario("small", 200, -1.8),
    Scenario("medium", 500, -1.8),
    Scenario("rare", 2_000, -3.6),
    Scenario("patients repeat", 800, -1.8, 4, 0.5),
)


def draw(scenario: Scenario, number: int, of: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted logit, truth and patient of each case."""
    from medai.core.draw import generator

    random = generator(SCENARIOS.index(scenario), 0, number, f"coverage of {of}")
    patient = np.arange(scenario.cases) // scenario.cases_of_patient
    shared, own = random.standard_normal((2, int(patient.max()) + 1)), random.standard_normal((2, scenario.cases))
    latent, other = math.sqrt(scenario.alike) * shared[:, patient] + math.sqrt(1 - scenario.alike) * own
    predicted = scenario.mean + SPREAD * other
    return predicted, ndtr(latent) < expit(SLOPE * predicted), patient


def truths(scenario: Scenario) -> dict[str, float]:
    """The true figures, by integration over the predicted logit."""
    z = np.linspace(-9, 9, 400_001)
    predicted, weight = scenario.mean + SPREAD * z, np.exp(-(z**2) / 2)
    weight /= weight.sum()
    chance, risk = expit(SLOPE * predicted), expit(predicted)
    prevalence = float(weight @ chance)
    positive, negative = weight * chance / prevalence, weight * (1 - chance) / (1 - prevalence)
    below = np.cumsum(negative) - negative / 2
    called, hit = np.cumsum(weight[::-1])[::-1] - weight / 2, np.cumsum(positive[::-1])[::-1] - positive / 2
    return {
        "prevalence": prevalence,
        "auroc": float(positive @ below),
        "average precision": float(positive @ (hit * prevalence / called)),
        "sensitivity": float(positive[predicted >= logit(THRESHOLD)].sum()),
        "Brier": float(weight @ (chance * (1 - risk) ** 2 + (1 - chance) * risk**2)),
        "calibration slope": SLOPE,
    }


def closed_forms(scenario: Scenario, number: int) -> tuple[int, dict[tuple[str, str], Interval]]:
    """Events, and the intervals by (figure, method) of one test set."""
    from medai.evaluation.interval import Intervals
    from medai.evaluation.patient import Patients
    from medai.evaluation.weak_calibration import calibration_line

    predicted, truth, patient = draw(scenario, number, "closed forms")
    rows, count = np.arange(len(truth)), int(patient.max()) + 1
    intervals = Intervals(Patients(patient, count, count, 0), {})
    slope, _ = calibration_line(expit(predicted), truth, intervals.patients.of(rows))
    figures = {
        "auroc": intervals.auroc(predicted, truth, rows),
        "sensitivity": intervals.share((predicted >= logit(THRESHOLD))[truth], rows[truth]),
        "calibration slope": slope,
    }
    return int(truth.sum()), {(name, figure.method): (figure.low, figure.high) for name, figure in figures.items()}


def resampled(scenario: Scenario, number: int) -> tuple[int, dict[tuple[str, str], Interval]]:
    """Likewise of the bootstrap: percentile and BCa, plain and within strata."""
    from medai.evaluation.auroc import auroc
    from medai.evaluation.bootstrap import bootstrap, event_strata, jackknife, mean_statistic, rank_statistic
    from medai.evaluation.curve import average_precision
    from medai.evaluation.interval import Intervals
    from medai.evaluation.patient import Patients

    predicted, truth, patient = draw(scenario, number, "bootstrap")
    rows, count, error = np.arange(len(truth)), int(patient.max()) + 1, (expit(predicted) - truth) ** 2
    if not 0 < truth.sum() < len(truth):
        return int(truth.sum()), {}
    wanted = {("rank",): rank_statistic(predicted, truth, rows), ("brier",): mean_statistic(error[:, None], rows, len(rows))}
    values = {
        "auroc": (auroc(predicted, truth).value, ("rank",), 0),
        "average precision": (average_precision(predicted, truth), ("rank",), 1),
        "Brier": (float(error.mean()), ("brier",), 0),
    }
    found: dict[tuple[str, str], Interval] = {}
    for drawn, strata in (("", None), (", within strata", event_strata(patient, truth))):
        draws = bootstrap(patient, wanted, REPLICATES, number, strata=strata, threads=1)
        left_out = jackknife(patient, wanted, number, strata=strata, threads=1)
        for kind in ("percentile", "bca"):
            intervals = Intervals(Patients(patient, count, count, 0), draws, kind=kind, jackknife=left_out)
            for name, (value, key, column) in values.items():
                figure = intervals.resampled(value, rows, key, column)
                found[name, f"bootstrap, {'BCa' if kind == 'bca' else kind}{drawn}"] = figure.low, figure.high
    return int(truth.sum()), found


def covered(task: tuple[Scenario, str, range]) -> tuple[int, Tally]:
    """Over some test sets: events, and how many intervals hold the truth, lie above it, below it, or are not given."""
    scenario, of, numbers = task
    truth, events, sums = truths(scenario), 0, Tally()
    for number in numbers:
        found, intervals = (closed_forms if of == "closed forms" else resampled)(scenario, number)
        events += found
        for (name, method), (low, high) in intervals.items():
            value = truth[name]
            fate = "absent" if low is None or high is None else "above" if low > value else "below" if high < value else "covers"
            sums.setdefault((name, method), defaultdict(float))[fate] += 1
            if low is not None and high is not None:
                sums[name, method]["width"] += high - low
    return events, sums


def table(simulations: dict[str, int]) -> list[dict[str, Any]]:
    rows = []
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        for scenario in SCENARIOS:
            truth = truths(scenario)
            for of, count in simulations.items():
                tasks = [(scenario, of, range(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]
                events, sums = 0, Tally()
                for some, part in pool.map(covered, tasks):
                    events += some
                    for key, counts in part.items():
                        _add(sums, key, counts)
                joined: Tally = {}
                for (name, method), counts in sums.items():  # the rare score interval in place of DeLong's belongs to the same figure
                    _add(joined, (name, _usual(method)), counts)
                for (name, method), counts in joined.items():
                    row = _row(scenario, truth[name], name, method, counts, count, events / count)
                    rows.append(row)
                    print(_line(row), flush=True)
    return rows


def _add(sums: Tally, key: tuple[str, str], counts: Mapping[str, float]) -> None:
    total = sums.setdefault(key, defaultdict(float))
    for fate, number in counts.items():
        total[fate] += number


def _usual(method: str) -> str:
    from medai.evaluation.auroc import DELONG_SCORE, NEWCOMBE
    from medai.evaluation.clustered import NEWCOMBE_PATIENTS, OBUCHOWSKI_SCORE

    return {NEWCOMBE: DELONG_SCORE, NEWCOMBE_PATIENTS: OBUCHOWSKI_SCORE}.get(method, method)


def _row(
    scenario: Scenario, truth: float, name: str, method: str, counts: Mapping[str, float], simulations: int, events: float
) -> dict[str, Any]:
    share, given = counts["covers"] / simulations, counts["covers"] + counts["above"] + counts["below"]
    return {
        "scenario": scenario.name, "n": scenario.cases, "events": events, "patients": scenario.cases // scenario.cases_of_patient,
        "figure": name, "method": method, "truth": truth, "simulations": simulations, "coverage": share,
        "error": math.sqrt(share * (1 - share) / simulations), "truth_below": counts["above"] / simulations,
        "truth_above": counts["below"] / simulations, "absent": round(simulations - given),
        "mean_width": counts["width"] / given if given else None, "within_target": 0.93 <= share <= 0.97,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    mark = "" if row["within_target"] else "  outside 93-97 %"
    where = f"{row['scenario']:<16} n {row['n']:>5,}, {row['events']:>5.0f} events  {row['figure']:<18} {row['method']:<42}"
    return f"{where} {row['coverage']:>6.1%} ± {row['error']:.1%} of {row['simulations']:,}{mark}"


def of_auroc(quick: bool) -> dict[str, Any]:
    """The rows of the AUROC's own scenarios, and how many of them lie within the target by method."""
    import auroc_coverage

    every = list(enumerate(auroc_coverage.studies()))[:: 40 if quick else 1]
    tasks = [(number, 200 if quick else 10_000 if study.alike is None else 4_000) for number, study in every]
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(auroc_coverage.row_of, tasks, chunksize=4))
    summary = auroc_coverage.summary(rows)
    for each in summary:
        counts = f"{each['below']:>3} below, {each['within']:>3} within, {each['above']:>3} above 93-97 %"
        where = f"{each['role']:<12} {'patients repeat' if each['patients_repeat'] else 'independent':<15} {each['method']:<6}"
        print(f"AUROC {where} of {each['scenarios']:>3} scenarios {counts}; {each['lowest']:.1%} to {each['highest']:.1%}", flush=True)
    return {"summary": summary, "rows": rows}


def _compact(record: dict[str, Any]) -> str:
    """JSON with a line a scenario, so that a change can be read."""
    parts = (f"{json.dumps(key)}: {_lines(value)}" for key, value in record.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]"
    if isinstance(value, dict):
        return "{" + ",\n".join(f"{json.dumps(key)}: {_lines(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    chosen = parser.parse_args()
    from medai.core.environment import commit, hardware, versions
    from medai.core.file import atomic_file, read_json

    path = Path(__file__).parent / "results" / "coverage.json"
    old: dict[str, Any] = read_json(path) if path.is_file() and not chosen.quick else {}
    counts = {"closed forms": 200, "bootstrap": 20} if chosen.quick else {"closed forms": 10_000, "bootstrap": 1_000}
    rows = table({part: count for part, count in counts.items() if part in chosen.part})
    for row in old.get("rows", []):
        if ("bootstrap" if row["method"].startswith("bootstrap") else "closed forms") not in chosen.part:
            rows.append(row)
    origin = {"commit": commit(), "versions": versions(), "hardware": hardware()}
    record = {
        "rows": sorted(rows, key=lambda row: [each.name for each in SCENARIOS].index(row["scenario"])),
        "auroc": of_auroc(chosen.quick) if "auroc" in chosen.part else old.get("auroc"),
        "scenarios": [asdict(each) | truths(each) for each in SCENARIOS], "slope": SLOPE, "threshold": THRESHOLD,
        "replicates": REPLICATES, "origin": old.get("origin", {}) | dict.fromkeys(chosen.part, origin),
    }  # fmt: skip
    if chosen.quick:
        print(json.dumps(record)[:200])
    else:
        with atomic_file(path) as temporary:
            temporary.write_text(_compact(record), encoding="utf-8")


if __name__ == "__main__":
    main()
