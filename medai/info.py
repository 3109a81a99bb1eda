"""What `medai info` prints: facts about this machine, or about an artefact on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medai.core.environment import hardware, versions
from medai.core.error import MedaiError
from medai.core.file import read_json


def machine() -> dict[str, str]:
    """Versions and hardware, without importing the packages."""
    return {name: str(value) for name, value in (versions() | hardware()).items()}


def describe(path: Path) -> dict[str, str]:
    """Facts about a cohort, a run, a checkpoint or a package.

    Raises:
        MedaiError: it is none of these, or is damaged.
    """
    if not path.exists():
        raise MedaiError(f"{path} does not exist; give a cohort, run, checkpoint or package")
    if (path / "cohort.json").is_file():
        return _read(path / "cohort.json", _cohort)
    if path.suffix.lower() == ".zip" or (path / "package.json").is_file():
        return _package(path)
    for folder in (path / "checkpoint", path):
        if (folder / "checkpoint.json").is_file():
            return _read(folder / "checkpoint.json", _checkpoint)
    raise MedaiError(f"{path} is no cohort, run, checkpoint or package: it has no cohort.json, checkpoint.json or package.json")


def _read(file: Path, facts: Callable[[Mapping[str, Any]], dict[str, str]]) -> dict[str, str]:
    """The facts of an artefact's JSON; what lacks its keys, or holds something else under them, is damaged."""
    try:
        return facts(read_json(file))
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise MedaiError(f"{file} is damaged ({what}); use an untouched copy") from None


def _cohort(meta: Mapping[str, Any]) -> dict[str, str]:
    facts = {"cohort": str(meta.get("name")), "hash": str(meta.get("hash", "")), "labels": _labels(meta.get("labels", ()))}
    facts |= {key: str(meta[key]) for key in ("unit", "licence", "url", "description") if meta.get(key)}
    return facts | {f"counts.{key}": _value(value) for key, value in dict(meta.get("counts", {})).items()}


def _package(path: Path) -> dict[str, str]:
    from medai.device.package import Package

    package = Package.load(path)
    record = package.record
    facts = {"package": str(path), "hash": package.hash, "labels": _labels([label.to_dict() for label in package.labels])}
    facts |= {f"accepts.{key}": _value(value) for key, value in package.contract.to_dict().items()}
    facts |= {f"threshold.{key}": _value(value) for key, value in dict(record.get("thresholds", {})).items()}
    return facts | {key: str(record[key]) for key in ("intended_use", "created") if record.get(key)}


def _checkpoint(description: Mapping[str, Any]) -> dict[str, str]:
    record = description.get("record", {})
    size = description["preprocessing"]["resize"]
    facts = {
        "network": _network(description["model"]),
        "input": f"{size['height']} x {size['width']} pixels, {size['channels']} channel(s)",
        "labels": _labels(description["labels"]),
        "cohort": f"{record.get('cohort', {}).get('name', '')} {str(record.get('cohort', {}).get('hash', ''))[:16]}".strip(),
        "hash": str(description.get("hash", "")),
    }
    facts |= {f"threshold.{key}": _value(value) for key, value in description.get("thresholds", {}).items()}
    return facts | {key: _value(record[key]) for key in ("epoch", "seed", "commit", "created") if record.get(key) not in (None, "")}


def _network(model: Mapping[str, Any]) -> str:
    members = model.get("members", ())
    if members:
        return f"ensemble of {len(members)}: {', '.join(dict.fromkeys(_network(member['model']) for member in members))}"
    return str(model.get("_target_", ""))


def _labels(labels: Any) -> str:
    return "; ".join(f"{label['name']} ({label['kind']}: {', '.join(label['classes'])})" for label in labels)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
