"""The trials on disk: an Optuna study in SQLite that several processes may work on, and that survives their deaths.

A trial belongs to the process that holds its lock, which falls with the process however that ends. So a trial that was killed
is found at once, without waiting for a heartbeat to stop, and is gone on with: same number, same values, same folder.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medai.core.draw import draw_seed
from medai.core.error import MedaiError
from medai.core.lock import locked
from medai.sweep.space import SweepPlan

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

IDENTITY = "medai.identity"
PROGRESS = "medai.progress"  # of a trial: the training steps of its validations in order, and the seconds that they took
REASON = "medai.reason"
HOPELESS = "medai.hopeless"


class Trials:
    """The trials of a sweep.

    Args:
        plan: The sweep.

    Raises:
        MedaiError: its folder holds another sweep, or an unreadable one.
    """

    def __init__(self, plan: SweepPlan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._plan = plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        direction: Any = plan.direction
        try:
            with self._alone():
                self._study = optuna.create_study(
                    storage=f"sqlite:///{(plan.folder / 'study.db').resolve()}", study_name="sweep", load_if_exists=True,
                    direction=direction, pruner=_pruner(plan),
                )  # fmt: skip
                self._check_identity()
        except MedaiError:
            raise
        except Exception as error:  # SQLAlchemy's, SQLite's and Optuna's own
            raise MedaiError(f"{plan.folder / 'study.db'} cannot be used ({str(error).splitlines()[0]}); choose another name=…") from error

    @property
    def study(self) -> "optuna.Study":
        """Optuna's view of it."""
        return self._study

    def all(self) -> "list[FrozenTrial]":
        """Every trial so far, in order."""
        return self._study.get_trials(deepcopy=False)

    @contextmanager
    def claim(self) -> "Iterator[tuple[Trial, dict[str, str]] | None]":
        """Hold the next trial and its values: one whose process has died, else a new one; None where there are enough."""
        with self._alone():
            claimed = self._orphan() or self._new()
        if claimed is None:
            yield None
            return
        trial, descriptor = claimed
        try:
            yield trial, self.values(trial)
        finally:
            os.close(descriptor)

    def values(self, trial: "Trial | FrozenTrial") -> dict[str, str]:
        """The values of a trial as they are written on the command line."""
        return {d.key: d.text(trial.params[d.key]) for d in self._plan.space if d.key in trial.params}

    def report(self, trial: "Trial", step: int, value: float, seconds: float) -> bool:
        """Record a validation; whether the trial is hopeless.

        Args:
            trial: A claimed one.
            step: Of the training. Trials are compared by the number of validations, since their batches may differ in size.
            value: The monitored figure.
            seconds: That the trial has taken so far.
        """
        steps = steps_of(trial)
        if step not in steps:  # a resumed training may validate a step again
            steps.append(step)
        trial.set_user_attr(PROGRESS, {"steps": steps, "seconds": round(seconds, 1)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a step that was reported before
            trial.report(value, steps.index(step))
        hopeless = trial.should_prune()
        if hopeless:
            trial.set_user_attr(HOPELESS, True)  # for the case that this process ends before the trial does
        return bool(hopeless)

    def end(self, trial: "Trial", state: str, value: float | None = None, reason: str = "") -> None:
        """``COMPLETE`` with a value, ``PRUNED`` or ``FAIL`` with the reason."""
        from optuna.trial import TrialState

        if reason:
            trial.set_user_attr(REASON, reason)
        self._study.tell(trial, value if state == "COMPLETE" else None, state=TrialState[state])

    def _orphan(self) -> "tuple[Trial, int] | None":
        from optuna.trial import Trial, TrialState

        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            descriptor = self._lock(frozen.number)
            if descriptor is not None:
                trial = Trial(self._study, frozen._trial_id)  # as Optuna's own `ask` makes it
                self._suggest(trial)
                return trial, descriptor
        return None

    def _new(self) -> "tuple[Trial, int] | None":
        number = len(self.all())
        if number >= self._plan.settings.trials:
            return None
        self._study.sampler = _sampler(self._plan, number)  # what is drawn depends on the trials so far, not on this process
        trial = self._study.ask()
        descriptor = self._lock(trial.number)
        assert descriptor is not None, "a new trial's lock is free"
        self._suggest(trial)
        return trial, descriptor

    def _suggest(self, trial: "Trial") -> None:
        for dimension in self._plan.space:
            dimension.suggest(trial)

    def _lock(self, number: int) -> int | None:
        """Hold a trial's lock, or None where another process does."""
        import fcntl

        path = self._plan.folder / ".trials" / str(number)
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which would live on in forked worker processes
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self._plan.folder / ".trials" / "lock"):
            yield

    def _check_identity(self) -> None:
        wanted = json.dumps(self._plan.identity(), sort_keys=True)
        found = self._study.user_attrs.get(IDENTITY)
        if found is None:
            self._study.set_user_attr(IDENTITY, wanted)
        elif found != wanted:
            what = ", ".join(key for key in ("space", "fixed", "monitor") if json.loads(found)[key] != json.loads(wanted)[key])
            told = {"space": "searches another space", "fixed": "has other fixed settings", "monitor": "goes by another figure"}
            raise MedaiError(f"{self._plan.folder} holds a sweep that {told[what.split(', ')[0]]}; choose another name=…")


def steps_of(trial: "Trial | FrozenTrial") -> list[int]:
    """The training steps of a trial's validations."""
    return list(trial.user_attrs.get(PROGRESS, {}).get("steps", []))


def seconds_of(trial: "Trial | FrozenTrial") -> float:
    """How long a trial has taken up to its last validation, interruptions left out."""
    return float(trial.user_attrs.get(PROGRESS, {}).get("seconds", 0.0))


def _sampler(plan: SweepPlan, number: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    seed = draw_seed(plan.settings.seed, 0, number, "sweep") % 2**32
    if plan.settings.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=plan.settings.startup, multivariate=True, constant_liar=True)


def _pruner(plan: SweepPlan) -> Any:
    from optuna import pruners

    if plan.settings.pruner == "none":
        return pruners.NopPruner()
    if plan.settings.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=max(1, plan.settings.warmup))
    return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=plan.settings.warmup, n_min_trials=3)
