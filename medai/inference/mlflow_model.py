"""A model that MLflow holds: fetched as files and never unpickled."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from medai.core.error import MedaiError
from medai.core.file import atomic_directory, hash_text
from medai.core.progress import say
from medai.inference.contract_file import LARGEST_FILE
from medai.tracking.outbox import first_line
from medai.tracking.run import _client, tracking_uri
from medai.tracking.settings import TrackingSettings

FETCHED = "fetched"  # in the folder of the runs
MODELS = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")
RUNS = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")


def is_mlflow(uri: str) -> bool:
    """Whether a candidate is named by an MLflow URI."""
    return uri.startswith(("models:", "runs:"))


def fetch_model(uri: str, runs: Path) -> Path:
    """Fetch a model's files into the folder of the runs, anew each time, since a stage or an alias moves on.

    The store is the one of the trainings: ``MLFLOW_TRACKING_URI``, or else ``mlflow.db`` in the folder of the runs.

    Args:
        uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/ID/PATH``.
        runs: Folder of the runs.

    Returns:
        The folder or file that was fetched.

    Raises:
        MedaiError: MLflow is not installed, its store does not answer, or it has no such model.
    """
    if not (MODELS.fullmatch(uri) or RUNS.fullmatch(uri)):
        raise MedaiError(
            f"candidate {uri} is no MLflow URI that names one model; expected models:/NAME/VERSION, models:/NAME@ALIAS or runs:/ID/PATH"
        )
    target = runs / FETCHED / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', uri)}-{hash_text(uri)[:8]}"
    with atomic_directory(target, replaces=".uri") as folder:
        found = _download(uri, runs, folder)
        inside = found.relative_to(folder)
        (folder / ".uri").write_text(uri, encoding="utf-8")
    say(f"Fetched {uri} into {target}")
    return target / inside


def model_in(folder: Path) -> Path:
    """The file of an MLflow model that can be run without unpickling: its ONNX file.

    Raises:
        MedaiError: it has none.
    """
    flavors = _flavors(folder)
    data = flavors.get("onnx", {}).get("data") if isinstance(flavors.get("onnx"), dict) else None
    if not isinstance(data, str):
        what = f"{folder} is an MLflow model of the flavor {', '.join(map(str, flavors)) or 'none'}, which would have to be unpickled"
        raise MedaiError(f"{what}; log it as ONNX (mlflow.onnx.log_model), or log the weights as safetensors and name that file")
    file = folder / data
    if ".." in Path(data).parts or Path(data).is_absolute() or not file.is_file():
        raise MedaiError(f"{folder}: MLmodel names the file {data!r}, which is not in it; log the model again")
    return file


def beside_model(folder: Path) -> Path | None:
    """The contract that was logged with a model: ``contract.yaml`` in its folder, or in the one above."""
    return next((file for file in (folder / "contract.yaml", folder.parent / "contract.yaml") if file.is_file()), None)


def _flavors(folder: Path) -> dict[str, Any]:
    file = folder / "MLmodel"
    if file.stat().st_size > LARGEST_FILE:
        raise MedaiError(f"{file} is too large to describe a model; log the model again")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        return dict(data["flavors"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise MedaiError(f"{file} does not say what it is (flavors); log the model again") from None


def _download(uri: str, runs: Path, folder: Path) -> Path:
    """Copy the artifacts; what MLflow complains of becomes one line."""
    own = tracking_uri(TrackingSettings(), runs)
    store = os.environ.get("MLFLOW_TRACKING_URI") or own
    if store == own and not Path(own.removeprefix("sqlite:///")).is_file():
        raise MedaiError(f"{uri}: there is no MLflow store in {runs}; set MLFLOW_TRACKING_URI to yours, or runs= to the folder of the runs")
    try:
        _client(store)  # telemetry and pickles are off before mlflow is imported
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts
    except ModuleNotFoundError as error:
        raise MedaiError(f"{uri} needs {error.name}: pip install 'medai[train]'") from None
    try:
        client = MlflowClient(tracking_uri=store, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or store)
        return Path(download_artifacts(artifact_uri=_place(client, uri), dst_path=str(folder), tracking_uri=store))
    except Exception as error:  # mlflow's stores raise types of their own
        raise MedaiError(f"{uri} cannot be fetched from {store}: {first_line(error)}") from None


def _place(client: Any, uri: str) -> str:
    """Where a registered version's files lie; mlflow's own look-up would ask the registry of its settings, and not this one."""
    match = MODELS.fullmatch(uri)
    if match is None:
        return uri
    name, version = match["name"], match["version"] or client.get_model_version_by_alias(match["name"], match["alias"]).version
    return str(client.get_model_version_download_uri(name, str(version)))
