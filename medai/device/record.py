"""package.json: the typed part that the runtime acts upon, beside the whole of it as data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.core.label import Label, columns_of
from medai.device.contract import InputContract
from medai.device.manifest import check_schema
from medai.device.model_proto import Port, Signature

NAME = "package.json"
SCHEMA_VERSION = "1.0"
OUTPUTS = ("probability", "logit", "decision")


@dataclass(frozen=True)
class Record:
    """What package.json says.

    Attributes:
        labels: What is predicted, in the order of the outputs.
        contract: What is accepted.
        data: The whole file.
    """

    labels: tuple[Label, ...]
    contract: InputContract
    data: Mapping[str, Any]

    @staticmethod
    def parse(path: Path, text: bytes) -> "Record":
        """Read package.json of the package at `path`.

        Raises:
            MedaiError: not JSON, of a newer major version, or with a key missing or wrong.
        """
        try:
            data = json.loads(text)
            version = data["schema_version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MedaiError(f"{path}: {NAME} is not a JSON object with a schema_version; export the package again") from None
        check_schema(path, NAME, version, SCHEMA_VERSION)
        try:
            labels = tuple(Label.from_dict(value) for value in data["labels"])
            return Record(labels, InputContract.from_dict(data["input"]), data)
        except KeyError as error:
            raise MedaiError(f"{path}: {NAME} lacks the key {error}; export the package again") from None
        except (TypeError, ValueError, MedaiError) as error:
            raise MedaiError(f"{path}: {NAME} is not valid ({error}); export the package again") from None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of probability and logit."""
        return columns_of(self.labels)

    def check_signature(self, path: Path, signature: Signature) -> None:
        """Refuse a model whose inputs or outputs are not those of package.json.

        Raises:
            MedaiError: names what the model has and what is expected.
        """
        expected: tuple[Port, ...] = (Port("pixels", "float32", ("N", self.contract.channels, "H", "W")),)
        if not _fit(signature.inputs, expected):
            raise MedaiError(
                f"{path}: model.onnx has other inputs than {NAME} says: {_listed(signature.inputs)}; expected {_listed(expected)}"
            )
        widths = {"probability": len(self.columns), "logit": len(self.columns), "decision": len(self.labels)}
        expected = tuple(Port(name, "int64" if name == "decision" else "float32", ("N", width)) for name, width in widths.items())
        if not _fit(signature.outputs, expected):
            raise MedaiError(
                f"{path}: model.onnx has other outputs than {NAME} says: {_listed(signature.outputs)}; expected {_listed(expected)}"
            )


def _fit(found: tuple[Port, ...], expected: tuple[Port, ...]) -> bool:
    """Whether names, types, ranks and fixed sizes agree; a free axis of the model must be free in the expectation."""
    return len(found) == len(expected) and all(
        one.name == other.name and one.dtype == other.dtype and one.shape is not None and other.shape is not None
        and len(one.shape) == len(other.shape)
        and all(a == b if isinstance(b, int) else isinstance(a, str) for a, b in zip(one.shape, other.shape, strict=True))
        for one, other in zip(found, expected, strict=True)
    )  # fmt: skip


def _listed(ports: tuple[Port, ...]) -> str:
    return ", ".join(map(str, ports)) or "none"
