"""A package on disk: all of it or nothing, and as one zip."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medai.core.file import atomic_directory, atomic_file, hash_file
from medai.device.manifest import NAME as MANIFEST
from medai.device.manifest import PackageFiles, manifest_text
from medai.device.package import MODEL, Prediction
from medai.device.record import NAME as RECORD
from medai.export.card import model_card
from medai.export.vector import Vector, write_vectors

CARD = "model_card.md"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold: equal packages give equal zips


def write_package(
    output: Path, model: bytes, record: Mapping[str, Any], vectors: list[Vector], predictions: list[Prediction], *, replace: bool = False
) -> Path:
    """Write a package directory atomically; the manifest last.

    Args:
        output: The directory.
        model: Bytes of model.onnx.
        record: Content of package.json.
        vectors: Inputs.
        predictions: The answers in torch, one a vector.
        replace: Take the place of a package that is there.

    Raises:
        MedaiError: `output` exists and is not to be replaced.
    """
    with atomic_directory(output, replaces=RECORD if replace else None) as folder:
        (folder / MODEL).write_bytes(model)
        (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(record), encoding="utf-8")
        write_vectors(folder / "vectors", vectors, predictions)
        write_manifest(folder)
    return Path(output)


def write_manifest(folder: Path) -> None:
    """Write the manifest of everything below `folder`."""
    files = {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, "sha256": hash_file(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    (folder / MANIFEST).write_text(manifest_text(files), encoding="utf-8")


def zip_package(package: Path, output: Path | None = None) -> Path:
    """A package as one zip beside it: equal packages give equal bytes, so nothing is compressed (deflate differs by library).

    Args:
        package: The directory.
        output: The zip; by default the directory's name with ``.zip``.

    Raises:
        MedaiError: the package is not as its manifest says.
    """
    package = Path(package)
    files = PackageFiles(package)
    output = Path(output) if output is not None else package.with_name(f"{package.name}.zip")
    with atomic_file(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in [*files.names, MANIFEST]:
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.external_attr, entry.create_system = 0o100644 << 16, 3  # a plain file, as Unix says it
            archive.writestr(entry, (package / name).read_bytes())
    return output
