"""The configuration: Hydra's tree under our typed schemas, and its errors in one line. Only this module and cli know Hydra.

The tree is `configs/` and `datasets/` of a checkout, or the copies that the wheel carries. The schema of a command is its
settings' dataclass; it stands first in the command's defaults list, so an unknown key or a wrong type is found before
anything runs.
"""

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from medai.config_error import did_you_mean, explain
from medai.config_space import split_space
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.hard_stop import check_allow
from medai.core.progress import say
from medai.export.settings import ExportSettings
from medai.inference.settings import EvaluateSettings
from medai.ingest.settings import IngestSettings
from medai.launcher.settings import LauncherCommand, LauncherSettings
from medai.launcher.submit import launch
from medai.manual import manual, opening_comment
from medai.override import quote, to_override
from medai.planning.option import AUTO
from medai.sweep.settings import SweepCommand
from medai.sweep.space import SweepPlan
from medai.training.settings import TrainSettings

SCHEMAS: dict[str, type] = {"train": TrainSettings, "evaluate": EvaluateSettings, "ingest": IngestSettings, "export": ExportSettings}
SCHEMAS |= {"sweep": SweepCommand, "launcher": LauncherCommand}
GROUPS = ("dataset", "preprocessing", "augmentation", "model", "loss", "training", "tracking", "executor", "experiment", "launcher")

BESIDE_RESUME = (
    "resume", "repeat", "name", "folder", "runs", "workers", "export", "tracking", "training.micro_batch", "training.accelerator",
    "training.timeout_seconds", "training.checkpoint_minutes", "training.checkpoint_steps", "training.keep_states",
)  # fmt: skip


def tree(name: str) -> Path:
    """The folder `configs` or `datasets`: inside an installed package, or else beside it in a checkout."""
    package = Path(__file__).parent
    packaged = package / f"_{name}"
    return packaged if packaged.is_dir() else package.parent / name


def settings(command: str, arguments: Sequence[str] = ()) -> Any:
    """The settings that a command line leads to, without running anything.

    Args:
        command: ``train``, ``evaluate``, ``ingest`` or ``export``.
        arguments: ``key=value`` as on the command line.

    Raises:
        MedaiError: something is wrong with them; one line.

    Example:
        >>> settings("train", ["experiment=quick", "seed=1"]).seed
        1
    """
    flags = _parse_flags(command, _split_launcher(command, arguments)[1])
    overrides = _overrides(flags)
    with _explained(command, overrides, flags.config_dir):
        chosen = _placed(_to_settings(compose(command, overrides, flags.config_dir)), datetime.now(), None, overrides)
        return _left_to_plan(chosen, overrides, flags.config_dir)


def run(command: str, arguments: Sequence[str], task: Callable[[Any], object]) -> None:
    """Compose the settings of a command line and call `task` with them, once or for every job of a sweep.

    With a launcher, `task` is not called here but by the same command elsewhere. For ``sweep``, it is called with a `SweepPlan`.

    Raises:
        MedaiError: the command line or the configuration is wrong, or a job of a sweep failed.
        Exception: what `task` raised.
    """
    own, arguments = _split_launcher(command, arguments)
    flags = _parse_flags(command, arguments)
    overrides = _overrides(flags)
    if flags.help and own:
        command, overrides = "launcher", own
    if flags.help:
        with _explained(command, overrides, flags.config_dir):
            print(_help(command, overrides, flags.config_dir))
        return
    launcher = _launcher(own, flags.config_dir) if own else None
    if command == "sweep":
        _sweep(flags, overrides, task, launcher)
        return
    started, failures = datetime.now(), []

    def job(config: DictConfig) -> None:
        number = HydraConfig.get().job.num if flags.multirun else None
        if number is not None:
            say(f"Sweep, job {number}: {HydraConfig.get().job.override_dirname}")
        try:
            with _explained(command, overrides, flags.config_dir):
                chosen = _placed(_to_settings(config), started, number, overrides)
                chosen = _left_to_plan(chosen, HydraConfig.get().overrides.task, flags.config_dir)
            if launcher:
                launch(launcher, _job(command, flags, chosen), Path(chosen.folder or chosen.resume) / "job")
            else:
                task(chosen)
        except Exception as error:  # Hydra would print its own lines about it
            if number is not None and getattr(error, "exit_code", 2) != 2:  # asked to end: so does the sweep
                raise
            failures.append(error)
            if number is not None:
                _tell(error, number)

    with _explained(command, overrides, flags.config_dir), TemporaryDirectory() as scratch:
        _call_hydra(command, flags, [*overrides, *_sweep_folder(flags, scratch)], job)
    if failures and not flags.multirun:
        raise failures[0]
    if failures:
        raise MedaiError(f"{len(failures)} job(s) of the sweep failed; their reasons stand above")


def _split_launcher(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is said about the launcher, as overrides, and the other arguments: the launcher is no part of a run's configuration."""
    own = [argument for argument in arguments if re.match(r"\+*launcher[.=]", argument)]
    if own and command not in ("train", "sweep"):
        raise MedaiError(f"launcher is no setting of medai {command}; train and sweep have it")
    return _overrides(_parse_flags("launcher", own)), [argument for argument in arguments if argument not in own]


def _launcher(overrides: list[str], config_dir: str | None) -> LauncherSettings:
    with _explained("launcher", overrides, config_dir):
        return cast(LauncherSettings, _to_settings(compose("launcher", overrides, config_dir)).launcher)


def _job(command: str, flags: argparse.Namespace, chosen: TrainSettings) -> list[str]:
    """The command line of one training elsewhere: always in the same folder, and going on where it was."""
    task = HydraConfig.get().overrides.task
    if chosen.resume not in (None, "auto"):
        return [command, *_join(flags), *task]
    name = None if chosen.name or chosen.sweep else Path(str(chosen.folder)).name  # else `auto` might find another unfinished run
    places = {"folder": chosen.folder, "sweep": chosen.sweep, "name": name}
    extras = [f"{key}={quote(value)}" for key, value in places.items() if value]
    extras += [] if chosen.resume or chosen.repeat else ["resume=auto"]
    return [command, *_join(flags), *task, *extras]


def _join(flags: argparse.Namespace) -> list[str]:
    return [f"--config-dir={os.path.abspath(flags.config_dir)}"] if flags.config_dir else []


def _sweep(flags: argparse.Namespace, overrides: list[str], task: Callable[[Any], object], launcher: LauncherSettings | None) -> None:
    if flags.multirun or flags.cfg or flags.info:
        raise MedaiError("medai sweep takes key=value, --config-dir and --help; what varies is written as choice(…) or interval(…)")
    plan = _sweep_plan(flags, overrides)
    if launcher is None:
        task(plan)
        return
    if launcher.devices * launcher.nodes > 1:
        raise MedaiError("a sweep's trial runs on one device; for four at once: launcher.devices=1 launcher.jobs=4")
    for _ in range(launcher.jobs):
        launch(launcher, ["sweep", *_join(flags), *flags.overrides], plan.folder / "job")


def _sweep_plan(flags: argparse.Namespace, overrides: Sequence[str]) -> SweepPlan:
    own = [override for override in overrides if override.lstrip("+").startswith("sweep.")]
    rest, started = [override for override in overrides if override not in own], datetime.now()
    with _explained("sweep", own, flags.config_dir):
        settings = _to_settings(compose("sweep", own, flags.config_dir)).sweep
    with _explained("train", rest, flags.config_dir):
        space, fixed = split_space(rest)

    def trial(values: Mapping[str, str]) -> TrainSettings:
        chosen = [*fixed, *(dimension.override(values[dimension.key]) for dimension in space)]
        with _explained("train", chosen, flags.config_dir):
            placed = _placed(_to_settings(compose("train", chosen, flags.config_dir)), started, None, chosen)
            return cast(TrainSettings, _left_to_plan(placed, chosen, flags.config_dir))

    first = {dimension.key: dimension.corners()[0] for dimension in space}
    base = trial(first)
    plan = SweepPlan(settings, space, fixed, Path(base.runs), base.training.monitor, trial)
    name = base.name or f"{base.dataset.get('name', 'data')}_sweep_{hash_text(canonical_json(plan.identity()))[:6]}"
    for dimension in space:  # every end of the space is tried, so that no trial fails for it at night
        for text in dimension.corners()[1:]:
            try:
                trial(first | {dimension.key: text})
            except MedaiError as error:
                hint = f"; write {dimension.key}=int(interval(…))" if "must be a whole number" in str(error) else ""
                raise MedaiError(f"{error}{hint}") from None
    return replace(plan, folder=plan.folder / _safe(name))


def compose(command: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> DictConfig:
    """The composed configuration; `overrides` are in Hydra's grammar."""
    _register()
    join = [f"hydra.searchpath=[{quote('file://' + os.path.abspath(config_dir))}]"] if config_dir else []
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(tree("configs")), version_base="1.3"):
        return hydra.compose(command, [*overrides, *join])


def group_options(config_dir: str | None = None) -> dict[str, list[str]]:
    """The options of every group, a user's own ones included."""
    folders = {group: [tree("configs") / group] for group in GROUPS} | {"dataset": [tree("datasets")]}
    if config_dir:
        folders = {group: [*paths, Path(config_dir) / group] for group, paths in folders.items()}
    return {group: sorted({file.stem for path in paths for file in path.glob("*.yaml")}) for group, paths in folders.items()}


def _register() -> None:
    """Tell Hydra the schemas, and the data sets as the group ``dataset``."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        node = OmegaConf.structured(schema)
        _thaw(node)
        store.store(f"{command}_settings", node)
    groups = [{group: None} for group in GROUPS if group not in ("executor", "experiment", "launcher")]
    store.store("given", {"defaults": ["command", *groups, {"experiment": None}, {"optional local": "default"}, "_self_"]})
    for path in sorted(tree("datasets").glob("*.yaml")):
        store.store(path.stem, OmegaConf.load(path), group="dataset")


def _thaw(node: DictConfig) -> None:
    """Make the nodes of frozen dataclasses writable: OmegaConf takes frozen for read-only."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig) and is_dataclass(OmegaConf.get_type(node, str(key))):
            _thaw(node[key])


def _to_settings(config: DictConfig) -> Any:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise MedaiError(f"{missing[0]} has no value; give it as {missing[0]}=…")
    _refuse_strangers(config)
    settings = OmegaConf.to_object(config)
    check_allow(getattr(settings, "allow", ()))
    return settings


def _refuse_strangers(node: DictConfig, prefix: str = "") -> None:
    """Refuse keys that were added with `+` where nothing reads them."""
    schema = OmegaConf.get_type(node)
    if not is_dataclass(schema):
        return
    for key in map(str, node):
        if key not in schema.__dataclass_fields__:
            close = did_you_mean(prefix + key, [prefix + name for name in schema.__dataclass_fields__])
            raise MedaiError(f"{prefix}{key} is unknown{close or '; leave it out'}")
        if isinstance(node[key], DictConfig):
            _refuse_strangers(node[key], f"{prefix}{key}.")


def _placed(chosen: Any, started: datetime, number: int | None, overrides: Sequence[str]) -> Any:
    """Give a training its folder: runs/<name>, or runs/<time>_<data set>_<network>_s<seed>, or a number in the sweep's."""
    if not isinstance(chosen, TrainSettings):
        return chosen
    _check_alone(chosen, overrides)
    if chosen.resume not in (None, "auto"):
        return chosen
    if chosen.folder and not chosen.name:
        chosen.name = Path(chosen.folder).name  # a place of the user's own: `resume=auto` looks nowhere else
    dataset, model = str(chosen.dataset.get("name", "data")), str(chosen.model.get("_target_", "network")).rsplit(".", 1)[-1]
    name = f"{started:%Y-%m-%d_%H-%M-%S}_{dataset}"
    if number is not None:
        chosen.sweep = str(Path(chosen.runs) / _safe(chosen.name or f"{name}_sweep"))
        chosen.folder = chosen.folder or str(Path(chosen.sweep) / str(number))
    elif chosen.name:
        chosen.folder = chosen.folder or str(Path(chosen.runs) / _safe(chosen.name))
    else:
        chosen.folder = chosen.folder or str(_free(Path(chosen.runs) / _safe(f"{name}_{model}_s{chosen.seed}")))
    return chosen


def _left_to_plan(chosen: Any, overrides: Sequence[str], config_dir: str | None) -> Any:
    """With `model=auto`, note which keys are given by hand and so not left to the plan.

    These are the keys of the command line, of an experiment, of the machine's `local/default`, and of the options that the command
    line or the experiment choose by name: what is composed when no group has a default.
    """
    if not isinstance(chosen, TrainSettings) or chosen.model.get("_target_") != AUTO:
        return chosen
    parts = [re.fullmatch(r"(~|\+*)([^=]+)(=.*)?", override, flags=re.DOTALL) for override in overrides]
    named = [(match[1], match[2], match[3] or "") for match in parts if match and not match[2].startswith("hydra.")]
    choices = [override for override, match in zip(overrides, parts, strict=True) if match and match[2].split("@")[0] in GROUPS]
    values = [f"++{key}{value}" for mark, key, value in named if mark != "~" and key.split("@")[0] not in GROUPS]
    composed = [key for key, _ in _flat(compose("given", [*choices, *values], config_dir))]
    removed = [key for mark, key, _ in named if mark == "~"]
    chosen.model["given"] = [key for key in [*composed, *removed] if not key.startswith(("dataset.", "tracking."))]
    return chosen


def _check_alone(chosen: TrainSettings, overrides: Sequence[str]) -> None:
    """A run that goes on, or is done again, keeps its configuration: refuse what would be changed beside it."""
    word = "repeat" if chosen.repeat else "resume" if chosen.resume not in (None, "auto") else None
    keys = [override.lstrip("+~").split("=")[0] for override in overrides]
    wrong = [key for key in keys if key not in BESIDE_RESUME and not key.startswith("hydra.")]
    if word and wrong:
        run = chosen.repeat or chosen.resume
        raise MedaiError(f"{word}={run} takes the configuration of that run, so {wrong[0]} cannot be given beside it; leave it out")


def _safe(name: str) -> str:
    """A name without what file systems and shells trip over."""
    return re.sub(r"[^-.\w]+", "-", name)


def _free(folder: Path) -> Path:
    free, number = folder, 2
    while free.exists():  # two runs in one second
        free, number = folder.with_name(f"{folder.name}_{number}"), number + 1
    return free


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MedaiError(f"{message} (--help lists what there is)")


def _parse_flags(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags that make sense here. Left out: those that name another tree, and the one that loads a pickle."""
    parser = _Parser(prog=command, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-p", "--package")
    parser.add_argument("-cd", "--config-dir")
    shown = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=shown)
    flags = parser.parse_intermixed_args(list(arguments))
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise MedaiError(f"--config-dir {flags.config_dir} does not exist or is not a folder")
    if flags.multirun and (flags.cfg or flags.info):
        raise MedaiError("--multirun runs jobs, --cfg and --info only show; give one of them")
    return flags


def _overrides(flags: argparse.Namespace) -> list[str]:
    parser = OverridesParser.create()

    def parses(override: str) -> bool:
        try:
            parser.parse_override(override)
        except HydraException:
            return False
        return True

    return [to_override(argument, sweep=flags.multirun, parses=parses) for argument in flags.overrides]


def _sweep_folder(flags: argparse.Namespace, scratch: str) -> list[str]:
    """Keep Hydra's own notes about a sweep out of the user's folders (a cluster's launcher may name a place)."""
    named = any(override.lstrip("+").startswith("hydra.sweep.dir=") for override in flags.overrides)
    return [] if named or not flags.multirun else [f"hydra.sweep.dir={quote(scratch)}"]


def _call_hydra(command: str, flags: argparse.Namespace, overrides: list[str], job: Callable[[DictConfig], None]) -> None:
    _register()
    options = [f"--{name}={value}" for name in ("cfg", "package", "info") if (value := getattr(flags, name))]
    options += [f"--config-dir={flags.config_dir}"] if flags.config_dir else []
    options += [f"--{name}" for name in ("multirun", "resolve") if getattr(flags, name)]
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *options, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed
    try:
        hydra.main(config_path=str(tree("configs")), config_name=command, version_base="1.3")(job)()
    except SystemExit as ended:  # Hydra has shown what was asked for, or said why not
        if ended.code:
            raise MedaiError("see the line above") from None
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full


@contextmanager
def _explained(command: str, overrides: Sequence[str], config_dir: str | None) -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise into one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError) as error:
        groups = group_options(config_dir)
        line = explain(error, command, SCHEMAS[command], overrides, groups, lambda: _known_keys(command, overrides, config_dir))
        raise MedaiError(line) from error


def _known_keys(command: str, overrides: Sequence[str], config_dir: str | None) -> list[str]:
    groups = [text for text in overrides if text.lstrip("+").split("=")[0].split("@")[0] in GROUPS]
    for chosen in (groups, []):
        try:
            return [key for key, _ in _flat(compose(command, chosen, config_dir))]
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
            continue
    return []


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with dots, and its value; a list is a value."""
    for key in node:
        value = node._get_node(key)
        name = f"{prefix}{key}"
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing() and len(value):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, ListConfig) and not value._is_none() and not value._is_missing():
            yield name, OmegaConf.to_container(value)
        else:
            yield name, value._value()


def _help(command: str, overrides: Sequence[str], config_dir: str | None) -> str:
    config = compose(command, overrides, config_dir)
    used = {field.name for field in fields(SCHEMAS[command])} | ({"experiment", "launcher"} if command == "train" else set())
    groups = {group: options for group, options in group_options(config_dir).items() if group in used}
    title = f"medai {command} key=value …" + (f"     (in a checkout also: python {command}.py)" if command in ("train", "evaluate") else "")
    title = "medai train launcher=… launcher.key=value …     (or medai sweep)" if command == "launcher" else title
    return manual(title, opening_comment(tree("configs") / f"{command}.yaml"), groups, _flat(config), SCHEMAS[command])


def _tell(error: Exception, number: int) -> None:
    if not isinstance(error, MedaiError) or os.environ.get("MEDAI_DEBUG"):
        traceback.print_exception(error)
    say(f"medai: job {number} failed: {error}")
