"""The manifest of a package: size and SHA-256 of every file, and the reading that checks them.

Any byte that differs, any file too few or too many is found, in the manifest itself too: its text is the only one that
its content has. Against somebody who rewrites package and manifest alike only a signature helps.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.device.container import Container, open_container

NAME = "manifest.json"
SCHEMA_VERSION = "1.0"
LARGEST_MANIFEST = 16 * 2**20  # bytes
PIECE = 2**20  # bytes hashed at a time


class PackageFiles:
    """The files of one package. Every read is checked against the manifest.

    Args:
        path: Directory or zip.

    Raises:
        MedaiError: a file is missing, added or changed, or the manifest is missing, damaged or too new.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._container = open_container(self.path)
        manifest = _read_manifest(self.path, self._container)
        self.hash: str = manifest["hash"]
        self._entries: dict[str, dict[str, Any]] = manifest["files"]
        self._compare_names()
        for name in self._entries:
            self._check_size(name)
        for name in self._entries:
            self._check_hash(name, self._digest(name))

    @property
    def names(self) -> tuple[str, ...]:
        """Every file but the manifest, sorted."""
        return tuple(sorted(self._entries))

    def read(self, name: str) -> bytes:
        """The bytes of one file, checked once more: it may have been changed since the package was opened.

        Raises:
            MedaiError: there is no such file, or it was changed.
        """
        if name not in self._entries:
            raise MedaiError(f"{self.path} holds no {name}; export the package again")
        with self._container.open(name) as stream:
            data = stream.read(self._entries[name]["size"] + 1)
        self._check_hash(name, hashlib.sha256(data).hexdigest())
        return data

    def _compare_names(self) -> None:
        present = self._container.sizes.keys() - {NAME}
        missing, extra = sorted(self._entries.keys() - present), sorted(present - self._entries.keys())
        if missing:
            raise MedaiError(f"{self.path}: {missing[0]} is missing{_more(missing)}; fetch the package again")
        if extra:
            raise MedaiError(f"{self.path}: {extra[0]} is not in its manifest{_more(extra)}; remove it or fetch the package again")

    def _check_size(self, name: str) -> None:
        expected, got = self._entries[name]["size"], self._container.sizes[name]
        if expected != got:
            raise MedaiError(f"{self.path}: {name} was changed ({got} bytes, expected {expected}); fetch the package again")

    def _check_hash(self, name: str, digest: str) -> None:
        if digest != self._entries[name]["sha256"]:
            raise MedaiError(f"{self.path}: {name} was changed (its SHA-256 is not the manifest's); fetch the package again")

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._container.open(name) as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()


def manifest_text(files: dict[str, dict[str, Any]]) -> str:
    """The text of a manifest.

    Args:
        files: Name -> ``{"size": bytes, "sha256": hexadecimal}``.
    """
    content = {"schema_version": SCHEMA_VERSION, "files": files}
    return _render(content | {"hash": hash_text(canonical_json(content))})


def check_schema(path: Path, name: str, found: Any, supported: str) -> None:
    """Refuse a newer major version of a file's schema.

    Raises:
        MedaiError: the version is newer, or is none.
    """
    try:
        major = int(str(found).split(".")[0])
    except ValueError:
        raise MedaiError(f"{path}: {name} has schema_version {found!r}; expected one like {supported!r}") from None
    if major > int(supported.split(".")[0]):
        raise MedaiError(
            f"{path}: {name} has schema version {found}, this medai reads up to {supported.split('.')[0]}.x; install a newer medai"
        )


def _read_manifest(path: Path, container: Container) -> dict[str, Any]:
    if NAME not in container.sizes:
        raise MedaiError(f"{path} is not a package: it holds no {NAME} at its top")
    with container.open(NAME) as stream:
        data = stream.read(LARGEST_MANIFEST + 1)
    try:
        manifest = json.loads(data)
        content = {key: value for key, value in manifest.items() if key != "hash"}
        untouched = len(data) <= LARGEST_MANIFEST and _render(manifest).encode() == data
        untouched = untouched and manifest["hash"] == hash_text(canonical_json(content))
        version, entries = manifest["schema_version"], manifest["files"].values()
        untouched = untouched and all(isinstance(entry["size"], int) and isinstance(entry["sha256"], str) for entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MedaiError(f"{path}: {NAME} was changed or is damaged; fetch the package again") from None
    check_schema(path, NAME, version, SCHEMA_VERSION)
    if not untouched:
        raise MedaiError(f"{path}: {NAME} was changed (it is not the text that its hash stands for); fetch the package again")
    return dict(manifest)


def _render(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
