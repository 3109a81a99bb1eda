"""medai.device.verify"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.device.tensor_proto import read_tensor, write_tensor
from medai.device.verify import verify
from medai.export.write import write_manifest, zip_package

SET = "vectors/test_data_set_1"


def _quiet(line: str) -> None:
    assert line


def test_every_vector_of_a_good_package_agrees(untouched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = verify(untouched, threads=1)
    assert len(result.vectors) == 9
    assert sum(vector.source == "source.dcm" for vector in result.vectors) == 4
    assert {vector.shape[0] for vector in result.vectors} == {1, 3}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 11
    assert printed[-1].startswith("9 vectors of mean agree")


def test_the_zip_agrees_too(untouched: Path, tmp_path: Path) -> None:
    assert verify(zip_package(untouched, tmp_path / "mean.zip"), write=_quiet).hash == verify(untouched, write=_quiet).hash


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, 2e-4, r"vector test_data_set_1: probability differs by 0\.0002, allowed 0\.0001"),
        (1, 0.5, r"vector test_data_set_1: logit differs by 0\.5, allowed 0\.001 \+ 0\.0001 x \|expected\|"),
        (2, 1, r"vector test_data_set_1: decision differs by 1, allowed 0"),
    ],
)
def test_an_answer_beyond_its_tolerance_is_named(package: Path, index: int, change: float, message: str) -> None:
    file = package / SET / f"output_{index}.pb"
    tensor = read_tensor(file.read_bytes())
    file.write_bytes(write_tensor(tensor.name, (tensor.array + change).astype(tensor.array.dtype)))
    write_manifest(package)
    with pytest.raises(MedaiError, match=message):
        verify(package, write=_quiet)


def test_a_nan_never_agrees(package: Path) -> None:
    file = package / SET / "output_0.pb"
    tensor = read_tensor(file.read_bytes())
    file.write_bytes(write_tensor(tensor.name, np.full_like(tensor.array, np.nan)))
    write_manifest(package)
    with pytest.raises(MedaiError, match="probability differs by nan"):
        verify(package, write=_quiet)


def test_an_output_of_another_shape_is_named(package: Path) -> None:
    (package / SET / "output_0.pb").write_bytes(write_tensor("probability", np.zeros((1, 3), np.float32)))
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"probability is float32 \(1, 4\), expected float32 \(1, 3\)"):
        verify(package, write=_quiet)


def test_a_source_that_gives_other_pixels_is_named(package: Path) -> None:
    shutil.copy(package / "vectors/test_data_set_3/source.dcm", package / SET / "source.dcm")
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"source\.dcm gives pixels of shape \(1, 28, 28\), input_0 has \(1, 96, 128\)"):
        verify(package, write=_quiet)
    tensor = read_tensor((package / SET / "input_0.pb").read_bytes())
    tensor.array[0, 0, 5, 5] += 1
    shutil.copytree(package / SET, package.parent / "set")
    (package / SET / "source.dcm").unlink()
    np.save(package / SET / "source.npy", read_tensor((package / SET / "input_0.pb").read_bytes()).array[0])
    (package / SET / "input_0.pb").write_bytes(write_tensor("pixels", tensor.array))
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"source\.npy gives other pixels than input_0 \(largest difference 1\)"):
        verify(package, write=_quiet)


def test_a_source_that_cannot_be_read_is_named_without_the_place_it_was_unpacked_to(package: Path) -> None:
    (package / SET / "source.dcm").write_bytes((package / SET / "source.dcm").read_bytes()[:-300])
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"vector test_data_set_1: source\.dcm is refused") as caught:
        verify(package, write=_quiet)
    assert "tmp" not in str(caught.value).replace(str(package), "")


def test_a_package_without_vectors_is_refused(package: Path) -> None:
    shutil.rmtree(package / "vectors")
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"holds no vectors/test_data_set_\*"):
        verify(package, write=_quiet)


def test_tolerances_that_lack_an_output_are_refused(package: Path) -> None:
    (package / "vectors/tolerances.json").write_text(json.dumps({"probability": {"absolute": 1, "relative": 0}}))
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"tolerances\.json must give absolute and relative for probability, logit, decision"):
        verify(package, write=_quiet)
