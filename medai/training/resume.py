"""Which run a training is: a new one, one that goes on, or one that is repeated."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.core.progress import say
from medai.training.distributed import restarts
from medai.training.settings import TrainingSettings, TrainSettings

PLACE = ("runs", "cohorts", "name", "folder", "sweep", "resume", "repeat", "workers", "export", "tracking")
MACHINE = ("micro_batch", "accelerator", "timeout_seconds", "checkpoint_minutes", "checkpoint_steps", "keep_states")


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Attributes:
        settings: Its settings, with the folder.
        folder: Of the run.
        resumed: Whether the folder is an earlier run's.
        finished: Whether there is nothing left to do.
    """

    settings: TrainSettings
    folder: Path
    resumed: bool = False
    finished: bool = False


def find_start(settings: TrainSettings) -> Start:
    """Decide, and claim the folder of a new run. Only the first rank does.

    Raises:
        MedaiError: there is no such run, it has another configuration, or its folder cannot be made.
    """
    if settings.repeat:
        saved = read_settings(Path(settings.repeat))
        places = {key: getattr(settings, key) for key in ("runs", "name", "folder", "workers")}
        return _fresh(replace(saved, repeat=settings.repeat, resume=None, **places), f"repeat of {Path(settings.repeat).name}")
    resume = settings.resume or ("auto" if restarts() else None)
    if resume is None:
        return _fresh(settings)
    if resume != "auto":
        return _resumed(settings, Path(resume))
    named = _folder(settings)
    if _is_run(named):
        _check_same(settings, named)
        return _resumed(settings, named)
    found = None if settings.name or settings.sweep else _newest_unfinished(settings)
    if found:
        say(f"Going on with {found}")
    return _resumed(settings, found) if found else _fresh(settings)


def resume_command(folder: Path) -> str:
    """What a person types to go on with a run."""
    return f"medai train {shlex.quote(f'resume={folder}')}"


def read_settings(folder: Path) -> TrainSettings:
    """The settings of an earlier run.

    Raises:
        MedaiError: it is not a run of this medai.
    """
    if not _is_run(folder):
        raise MedaiError(f"{folder} holds no run; give the folder of one (it has a config.json)")
    try:
        settings: TrainSettings = _from_dict(TrainSettings, read_json(folder / "config.json"))
    except (TypeError, KeyError) as error:
        raise MedaiError(f"{folder / 'config.json'} does not fit this medai ({error}); train anew") from None
    return settings


def _from_dict(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    unknown = set(value) - {field.name for field in fields(kind)}
    if unknown:
        raise TypeError(f"unknown key {min(unknown)}")
    return kind(**{key: _from_dict(hints[key], item) if is_dataclass(hints[key]) else item for key, item in value.items()})


def _resumed(settings: TrainSettings, folder: Path) -> Start:
    saved = read_settings(folder)
    here = {key: getattr(settings.training, key) for key in MACHINE if _is_given(settings.training, key)}
    places = {key: getattr(settings, key) for key in ("runs", "workers")}
    kept = replace(saved, training=replace(saved.training, **here), folder=str(folder), resume=settings.resume, **places)
    status = read_json(folder / "run.json").get("status") if (folder / "run.json").is_file() else "starting"
    return Start(kept, folder, resumed=True, finished=status in ("finished", "pruned"))


def _is_given(training: TrainingSettings, key: str) -> bool:
    return bool(getattr(training, key) != TrainingSettings.__dataclass_fields__[key].default)


def _fresh(settings: TrainSettings, suffix: str = "") -> Start:
    folder = _folder(settings, suffix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").touch(exist_ok=False)  # of two trainings with one name, one gets the folder
    except FileExistsError:
        if _is_run(folder):
            raise MedaiError(f"{folder} holds a run already; choose another name=…, remove it, or go on with it: resume={folder}") from None
    except OSError as error:
        raise MedaiError(
            f"the run's folder {folder} cannot be made ({error.strerror}); set runs=… to a folder that can be written"
        ) from None
    return Start(replace(settings, folder=str(folder)), folder)


def _folder(settings: TrainSettings, suffix: str = "") -> Path:
    if settings.folder:
        return Path(settings.folder)
    name = settings.name or "_".join(part for part in (time.strftime("%Y-%m-%d_%H-%M-%S"), suffix.replace(" ", "-")) if part)
    return Path(settings.runs) / name


def _is_run(folder: Path) -> bool:
    path = folder / "config.json"
    return path.is_file() and path.stat().st_size > 0  # an empty one was claimed by a training that ended before it began


def comparable(settings: TrainSettings | Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share to be the same training: all but places and what belongs to the machine."""
    value = dict(settings) if isinstance(settings, Mapping) else asdict(settings)
    training = {key: item for key, item in value["training"].items() if key not in MACHINE}
    return {key: item for key, item in value.items() if key not in PLACE} | {"training": training}


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys in which two nested configurations differ."""
    found = []
    for key in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += differences(mine, theirs, f"{prefix}{key}.")
        elif mine != theirs:
            found.append(prefix + key)
    return found


def _check_same(settings: TrainSettings, folder: Path) -> None:
    other = differences(comparable(settings), comparable(read_settings(folder)))
    if other:
        raise MedaiError(
            f"{folder} holds a run of another configuration ({', '.join(other[:5])}); choose another name=…, "
            f"or go on with it as it is: resume={folder}"
        )


def _newest_unfinished(settings: TrainSettings) -> Path | None:
    wanted = comparable(settings)
    for path in sorted(Path(settings.runs).glob("*/run.json"), key=lambda one: one.stat().st_mtime, reverse=True):
        try:
            record, saved = read_json(path), read_settings(path.parent)
        except MedaiError:
            continue
        if record.get("status") not in ("finished", "pruned") and comparable(saved) == wanted:
            return path.parent
    return None
