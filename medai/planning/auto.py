"""The option `model=auto`: a plan is made for the cohort, or read from a file, and the settings are filled from it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.core.progress import say
from medai.ingest.ingest import ingest
from medai.planning.fill import filled, value_of
from medai.planning.fingerprint import fingerprint
from medai.planning.machine import Machine, Stopwatch, measure
from medai.planning.network import has_pretrained
from medai.planning.option import AUTO, GROUPS
from medai.planning.plan import Plan, draw_up, summary
from medai.planning.sheet import nested
from medai.planning.write import YAML_FILE, read_plan, write_plan
from medai.source.build import build_source
from medai.training.distributed import connected, ranks, restarts
from medai.training.material import gather
from medai.training.range_test import STEPS, RangeTest, range_test
from medai.training.settings import TrainSettings

OWN = ("_target_", "plan", "budget_minutes", "range_test", "given")  # arguments of the option; others go to the network
FEWEST_STEPS, OF_STEPS = 40, 5  # a range test is no longer than a fifth of a short training
SEED = 0  # a plan belongs to the cohort and the machine: runs with other seeds get the same one


def planned(settings: TrainSettings) -> TrainSettings:
    """The settings of a training, by plan where they ask for one. Writes `plan.yaml` into the run's folder.

    A run that goes on keeps its plan: the one in its folder is taken.

    Args:
        settings: With `model=auto`; others are given back as they are. ``model.given`` names the keys that are not left to the
            plan, ``model.plan`` a plan's file; without one a plan is made for the cohort.

    Raises:
        MedaiError: the plan or the data are wrong, or several processes would make a plan each.

    Example:
        >>> train(planned(TrainSettings(dataset=…, model={"_target_": AUTO}, name="by-plan")))
    """
    if settings.model.get("_target_") != AUTO or settings.repeat or settings.resume not in (None, "auto"):
        return settings
    folder = Path(settings.folder or Path(settings.runs) / (settings.name or "auto"))
    settings = replace(settings, folder=str(folder))
    goes_on = settings.resume == "auto" or restarts() > 0
    if (folder / "config.json").exists() and not goes_on:
        raise MedaiError(f"{folder} holds a run already; choose another name=…, remove it, or go on with it: resume={folder}")
    kept = folder / YAML_FILE if goes_on and (folder / YAML_FILE).is_file() else None
    if path := kept or settings.model.get("plan"):
        filled_in = apply(settings, read_plan(Path(path)), str(path))
        keep(Path(path), folder)
        return filled_in
    if ranks()[1] > 1:
        raise MedaiError("each of several processes would make a plan of its own; make one first: medai plan COHORT --output FOLDER, "
                         "then give it with model.plan=FOLDER")  # fmt: skip
    cohort = ingest(build_source(settings.dataset), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    plan = plan_for(cohort, settings)
    say(f"Plan for {summary(plan)}")
    say(f"  {write_plan(plan, folder)} has the reasons")
    return apply(settings, plan.values, "the plan")


def plan_for(cohort: Cohort, settings: TrainSettings, stopwatch: Stopwatch | None = None) -> Plan:
    """A plan for a cohort.

    Args:
        cohort: To be trained on.
        settings: With `model=auto`; what they give by hand is kept.
        stopwatch: Times networks; None times them on this machine.
    """
    option = {"budget_minutes": 60.0, "range_test": True} | dict(settings.model)
    machine = Machine.here(settings.training.accelerator)

    def test_rates(values: Mapping[str, Any]) -> RangeTest:
        filled_in = replace(apply(settings, values, "the plan"), seed=SEED)
        with connected(settings.training.accelerator, settings.training.timeout_seconds) as group:
            material = gather(filled_in, group, cohort=cohort)
            planned_steps = material.batches.steps * filled_in.training.epochs
            return range_test(material, filled_in, min(STEPS, max(FEWEST_STEPS, planned_steps // OF_STEPS)), group)

    return draw_up(
        fingerprint(cohort, SEED),
        machine,
        stopwatch or partial(measure, device=machine.device),
        given=given(settings),
        budget_minutes=_positive(option["budget_minutes"]),
        pretrained=has_pretrained(),
        test_rates=test_rates if option["range_test"] else None,
    )


def given(settings: TrainSettings) -> dict[str, Any]:
    """What a person has set: the keys in ``model.given``, and arguments for the network beside the option's own."""
    keys = [key for key in settings.model.get("given") or () if key.split(".")[0] in GROUPS and not key.startswith("model.")]
    arguments = {f"model.{key}": value for key, value in settings.model.items() if key not in OWN}
    return {key: value_of(settings, key) for key in keys} | arguments


def apply(settings: TrainSettings, values: Mapping[str, Any], source: str) -> TrainSettings:
    """Settings with the values of a plan, except where a person has set them.

    Args:
        settings: With `model=auto`.
        values: Of the plan, by key.
        source: Where they come from, for errors.
    """
    own = given(settings)
    kept = {key: value for key, value in values.items() if not _concerns(key, own)}
    return filled(settings, nested(kept | own), source)


def _concerns(key: str, own: Mapping[str, Any]) -> bool:
    """Whether a person has set this key, a part of it, or the whole that it is a part of."""
    return any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in own)


def _positive(minutes: Any) -> float:
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or minutes <= 0:
        raise MedaiError(f"model.budget_minutes is {minutes!r}; it must be a number above 0")
    return float(minutes)


def keep(path: Path, folder: Path) -> None:
    """Copy the plan into the run's folder."""
    source = path / YAML_FILE if path.is_dir() else path
    if source.resolve() != (folder / YAML_FILE).resolve():
        with atomic_file(folder / YAML_FILE) as temporary:
            temporary.write_bytes(source.read_bytes())
