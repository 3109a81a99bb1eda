"""The sweep: ask for values, train with them, tell what came of it."""

import math
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medai.core.error import MedaiError
from medai.core.file import write_json
from medai.core.progress import say
from medai.sweep.record import FIGURES, record, table
from medai.sweep.scale import short_names
from medai.sweep.space import SweepPlan
from medai.sweep.study import HOPELESS, Trials, seconds_of
from medai.training.settings import TrainSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

MOST_FAILURES = 3  # in a row, before any trial has succeeded
Watch = Callable[[int, Mapping[str, float]], None]


class Train(Protocol):
    """`medai.training.train.train`."""

    def __call__(self, settings: TrainSettings, watch: Watch | None = None) -> Path:
        """Train; `watch(step, figures)` after each validation."""


def run_sweep(plan: SweepPlan, train: Train, pruned: type[Exception]) -> Path:
    """Search until the plan's number of trials is reached; a call after an interruption goes on, also within a trial.

    The test split is never opened: a trial's value is its best monitored figure of validation.

    Args:
        plan: What to search.
        train: Trains with the settings of a trial.
        pruned: What `watch` raises where a trial is hopeless; `train` may raise it on.

    Returns:
        The sweep's folder: `study.db`, `sweep.json`, `sweep.html`, and a run in a folder with its number for each trial.

    Raises:
        MedaiError: the folder holds another sweep, or no trial succeeds.
    """
    trials = Trials(plan)
    failures: list[str] = []
    _tell_start(plan, trials)
    while True:
        with trials.claim() as claimed:
            if claimed is None:
                break
            trial, values = claimed
            reason = _Run(plan, trials, trial, values, pruned).run(train)
        write_json(plan.folder / "sweep.json", record(plan, trials))
        say(_line(plan, trials, trial.number))
        failures = [*failures, reason] if reason else []
        if len(failures) >= MOST_FAILURES and not any(each.state.name == "COMPLETE" for each in trials.all()):
            raise MedaiError(f"the first {len(failures)} trials failed, so the sweep ends; the last: {failures[-1]}")
    return conclude(plan, trials)


def conclude(plan: SweepPlan, trials: Trials) -> Path:
    """Write the sweep's record and its page, and print its best trials."""
    from medai.sweep.page import write_page

    result = record(plan, trials, importances=True)
    write_json(plan.folder / "sweep.json", result)
    write_page(plan.folder / "sweep.html", result)
    print(table(result))
    return plan.folder


class _Run:
    """One trial from its values to its state."""

    def __init__(self, plan: SweepPlan, trials: Trials, trial: "Trial", values: dict[str, str], pruned: type[Exception]) -> None:
        self._plan, self._trials, self._trial, self._values, self._pruned = plan, trials, trial, values, pruned
        self._started = time.monotonic()
        self._before = seconds_of(trial)

    def run(self, train: Train) -> str:
        """Train; the reason if it failed, else nothing. An interruption leaves the trial to be gone on with."""
        try:
            train(self._settings(), watch=self._watch)
        except self._pruned:
            pass
        except Exception as error:
            if getattr(error, "exit_code", 2) != 2:  # asked to end: the trial goes on when the command is given again
                raise
            if not isinstance(error, MedaiError) or os.environ.get("MEDAI_DEBUG"):
                traceback.print_exception(error)
            return self._fail(f"{error}" or type(error).__name__)
        best = self._best()
        if self._trial.user_attrs.get(HOPELESS):
            self._trials.end(self._trial, "PRUNED")
        elif best is None:
            return self._fail(f"no validation gave a finite {self._plan.monitor}")
        else:
            self._trials.end(self._trial, "COMPLETE", best)
        return ""

    def _settings(self) -> TrainSettings:
        chosen = self._plan.compose(self._values)
        return replace(chosen, folder=str(self._plan.folder / str(self._trial.number)), sweep=str(self._plan.folder), resume="auto")

    def _watch(self, step: int, figures: Mapping[str, float]) -> None:
        value = figures.get(f"validation_{self._plan.monitor}", math.nan)
        seconds = self._before + time.monotonic() - self._started
        if math.isfinite(value) and self._trials.report(self._trial, step, value, seconds):
            raise self._pruned(f"trial {self._trial.number} is worse than the others at this point")

    def _best(self) -> float | None:
        values = self._trials.all()[self._trial.number].intermediate_values.values()
        choose = min if self._plan.direction == "minimize" else max
        return choose(values, default=None)

    def _fail(self, reason: str) -> str:
        line = " ".join(reason.splitlines())
        self._trials.end(self._trial, "FAIL", reason=line)
        return line


def _tell_start(plan: SweepPlan, trials: Trials) -> None:
    before = trials.all()
    ended = sum(trial.state.is_finished() for trial in before)
    again = f", {ended} of them done before" if before else ""
    what = ", ".join(dimension.key for dimension in plan.space)
    say(f"Sweep {plan.folder}: {plan.settings.trials} trials{again}, over {what}, by {FIGURES[plan.monitor]} of validation")


def _line(plan: SweepPlan, trials: Trials, number: int) -> str:
    result: dict[str, Any] = record(plan, trials)
    trial = next(each for each in result["trials"] if each["number"] == number)
    names = short_names([dimension.key for dimension in plan.space])
    values = " ".join(f"{names[key]}={value}" for key, value in trial["values"].items())
    best = result["best"]
    so_far = f" (best {best['value']:.4f}, trial {best['trial']})" if best and best["trial"] != number else " (best)" if best else ""
    outcome = {
        "complete": f"{FIGURES[plan.monitor]} {trial['value']:.4f}{so_far}" if trial["value"] is not None else "",
        "pruned": f"ended early after {len(trial['curve'])} validations{so_far}",
        "failed": f"failed: {trial['reason']}",
    }[trial["state"]]
    return f"trial {number} ({number + 1} of {plan.settings.trials}): {outcome}, {values}, {trial['seconds']:.0f} s"
