"""Replay a package's vectors on this machine: the same bytes, the same pixels from DICOM, the same answers."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import MedaiError, Refusal
from medai.device.intake import read_input
from medai.device.package import Package
from medai.device.record import OUTPUTS
from medai.device.session import CPU
from medai.device.tensor_proto import read_tensor

FOLDER = "vectors"
TOLERANCES = f"{FOLDER}/tolerances.json"
SET_NAME = re.compile(rf"{FOLDER}/(test_data_set_\d+)/")


@dataclass(frozen=True)
class VectorResult:
    """One vector that was replayed.

    Attributes:
        name: Its folder.
        shape: Of its pixels.
        source: Name of the file that the pixels were read from, or ``""``.
        differences: Largest absolute difference, by output.
        seconds: How long the model took.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    differences: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found, all of it good.

    Attributes:
        path: The package.
        hash: Of its manifest.
        vectors: A result a vector.
    """

    path: Path
    hash: str
    vectors: tuple[VectorResult, ...]


def verify(
    path: Path | str, *, providers: Sequence[str] = CPU, threads: int | None = None, write: Callable[[str], None] = print
) -> VerifyResult:
    """Check a package on this machine and print a line for each vector.

    Args:
        path: The package's directory or zip.
        providers: ONNX Runtime's execution providers, the preferred first.
        threads: Threads of one operator.
        write: Takes the lines of the table.

    Raises:
        MedaiError: a file is changed, a source gives other pixels, or an output is beyond its tolerance.
    """
    package = Package.load(path, providers=providers, threads=threads)
    names = sorted({found[1] for name in package.files.names if (found := SET_NAME.match(name))}, key=lambda name: (len(name), name))
    if not names:
        raise MedaiError(f"{path} holds no {FOLDER}/test_data_set_*, so that nothing can be verified; export the package again")
    tolerances = _tolerances(package)
    write(f"{'vector':<18} {'shape':<20} {'source':<12} {'probability':>11} {'logit':>9} {'decision':>8} {'ms':>7}")
    results = []
    for name in names:
        result = _replay(package, name, tolerances)
        write(_line(result))
        results.append(result)
    write(
        f"{len(results)} vectors of {Path(path).name} agree; {len(package.files.names)} files are unchanged (package {package.hash[:16]})"
    )
    return VerifyResult(Path(path), package.hash, tuple(results))


def _replay(package: Package, name: str, tolerances: dict[str, dict[str, float]]) -> VectorResult:
    folder = f"{FOLDER}/{name}"
    pixels = read_tensor(package.files.read(f"{folder}/input_0.pb")).array
    source = next((file for file in package.files.names if file.startswith(f"{folder}/source.")), None)
    if source is not None:
        _check_source(package, name, source, pixels)
    start = time.perf_counter()
    try:
        prediction = package.predict(pixels)
    except Refusal as refusal:
        raise MedaiError(f"{package.path}: vector {name} is refused: {refusal.message}") from None
    seconds = time.perf_counter() - start
    differences = {}
    for index, output in enumerate(OUTPUTS):
        expected = read_tensor(package.files.read(f"{folder}/output_{index}.pb")).array
        differences[output] = _compare(f"{package.path}: vector {name}", output, expected, getattr(prediction, output), tolerances[output])
    return VectorResult(name, pixels.shape, Path(source).name if source else "", differences, seconds)


def _check_source(package: Package, name: str, source: str, pixels: Shaped[np.ndarray, "N C H W"]) -> None:
    """The way from the file to the pixels, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:  # readers of pictures want a file
        file = Path(folder) / Path(source).name
        file.write_bytes(package.files.read(source))
        try:
            found = read_input(file, package.contract).pixels
        except Refusal as refusal:
            reason = refusal.message.replace(str(file), file.name)
            raise MedaiError(f"{package.path}: vector {name}: {file.name} is refused: {reason}") from None
    if found.shape != pixels.shape[1:]:
        raise MedaiError(
            f"{package.path}: vector {name}: {Path(source).name} gives pixels of shape {found.shape}, input_0 has {pixels.shape[1:]}"
        )
    if not np.array_equal(found, pixels[0]):
        largest = float(np.abs(found - pixels[0]).max())
        raise MedaiError(
            f"{package.path}: vector {name}: {Path(source).name} gives other pixels than input_0 (largest difference {largest:g})"
        )


def _compare(
    where: str, output: str, expected: Shaped[np.ndarray, "..."], got: Shaped[np.ndarray, "..."], tolerance: dict[str, float]
) -> float:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise MedaiError(f"{where}: {output} is {got.dtype} {got.shape}, expected {expected.dtype} {expected.shape}")
    differences = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    allowed = tolerance["absolute"] + tolerance["relative"] * np.abs(expected.astype(np.float64))
    largest = float(differences.max(initial=0.0))
    if not (differences <= allowed).all():  # written so that NaN fails
        limit = (
            f"{tolerance['absolute']:g} + {tolerance['relative']:g} x |expected|" if tolerance["relative"] else f"{tolerance['absolute']:g}"
        )
        raise MedaiError(f"{where}: {output} differs by {largest:.3g}, allowed {limit}; this runtime does not compute what was exported")
    return largest


def _tolerances(package: Package) -> dict[str, dict[str, float]]:
    try:
        found: dict[str, Any] = json.loads(package.files.read(TOLERANCES))
        return {output: {kind: float(found[output][kind]) for kind in ("absolute", "relative")} for output in OUTPUTS}
    except (ValueError, KeyError, TypeError):
        raise MedaiError(f"{package.path}: {TOLERANCES} must give absolute and relative for {', '.join(OUTPUTS)}") from None


def _line(result: VectorResult) -> str:
    shape = " x ".join(map(str, result.shape))
    figures = result.differences
    return (
        f"{result.name:<18} {shape:<20} {result.source or '-':<12} {figures['probability']:>11.1e} {figures['logit']:>9.1e} "
        f"{'equal' if figures['decision'] == 0 else 'differs':>8} {result.seconds * 1000:>7.1f}"
    )
