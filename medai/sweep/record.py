"""What a sweep leaves for machines (`sweep.json`) and on the terminal."""

import math
import time
from typing import Any

from medai.sweep.scale import short_names
from medai.sweep.space import SweepPlan
from medai.sweep.study import REASON, Trials, seconds_of, steps_of

SCHEMA_VERSION = "1.0"
FIGURES = {"auroc": "AUROC", "accuracy": "accuracy", "loss": "loss"}
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "running"}
MOST_ROWS = 10


def record(plan: SweepPlan, trials: Trials, importances: bool = False) -> dict[str, Any]:
    """All that is known of a sweep, for JSON.

    Args:
        plan: The sweep.
        trials: Its trials so far.
        importances: Work out each setting's share of the values' variance (functional ANOVA, Hutter et al. 2014).
    """
    every = [_trial(plan, trials, trial) for trial in trials.all()]
    ranked = best_first(every, plan.direction)
    best = ranked[0] if ranked else None
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.folder.name,
        "folder": str(plan.folder),
        "monitor": plan.monitor,
        "direction": plan.direction,
        "wanted": plan.settings.trials,
        "settings": {"sampler": plan.settings.sampler, "pruner": plan.settings.pruner, "seed": plan.settings.seed},
        **plan.identity(),
        "best": {"trial": best["number"], "value": best["value"], "values": best["values"], "folder": best["folder"]} if best else None,
        "importances": _importances(trials) if importances else {},
        "trials": every,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def best_first(trials: list[dict[str, Any]], direction: str) -> list[dict[str, Any]]:
    """The trials that ran to their end, the best first; of equals, the earlier one."""
    complete = [trial for trial in trials if trial["state"] == "complete"]
    return sorted(complete, key=lambda trial: trial["value"] * (1 if direction == "minimize" else -1))


def table(result: dict[str, Any]) -> str:
    """The best trials and what became of the others, for the terminal."""
    ranked, keys = best_first(result["trials"], result["direction"]), [dimension["key"] for dimension in result["space"]]
    states = [trial["state"] for trial in result["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "running") if state in states)
    names = short_names(keys)
    rows = [["trial", FIGURES[result["monitor"]], *names.values(), "seconds"]]
    for trial in ranked[:MOST_ROWS]:
        values = [trial["values"].get(key, "") for key in keys]
        rows.append([str(trial["number"]), f"{trial['value']:.4f}", *values, f"{trial['seconds']:.0f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    share = ", ".join(f"{names[key]} {value:.0%}" for key, value in result["importances"].items())
    return "\n".join(["", f"{len(states)} trials: {counts}", *lines, *([f"what mattered: {share}"] if share else [])])


def _trial(plan: SweepPlan, trials: Trials, trial: Any) -> dict[str, Any]:
    steps = steps_of(trial)
    return {
        "number": trial.number,
        "state": STATES[trial.state.name],
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "values": trials.values(trial),
        "curve": [[steps[index], value] for index, value in sorted(trial.intermediate_values.items())],
        "seconds": seconds_of(trial),
        "reason": trial.user_attrs.get(REASON, ""),
        "folder": str(plan.folder / str(trial.number)),
    }


def _importances(trials: Trials) -> dict[str, float]:
    """Shares that add up to 1, largest first; nothing where the trials cannot tell (too few, or all with one value)."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in trials.all() if trial.state.name == "COMPLETE"]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    found = get_param_importances(trials.study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {key: float(value) for key, value in found.items() if math.isfinite(value)}
