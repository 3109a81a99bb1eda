"""medai.device.package: one line for everything that is wrong, and the right answer for what is not."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medai.core.error import MedaiError, Refusal
from medai.device.contract import InputContract
from medai.device.manifest import NAME as MANIFEST
from medai.device.package import Package
from medai.dicom.write import Encoding, encode_image
from medai.export.write import write_manifest, zip_package


def _image(mean: float = 1000.0, height: int = 40, width: int = 60) -> np.ndarray:
    return np.round(np.linspace(mean - 500, mean + 500, height * width)).reshape(1, height, width).astype(np.float32)


def _write_dicom(path: Path, pixels: np.ndarray, modality: str = "DX", **attributes: str) -> Path:
    path.write_bytes(encode_image(pixels.astype(np.int32), modality, Encoding(16, intercept=-1024, attributes=attributes)))
    return path


def test_it_says_what_it_predicts_and_accepts(untouched: Path) -> None:
    package = Package.load(untouched)
    assert [label.name for label in package.labels] == ["nodule", "view"]
    assert package.columns == ("nodule", "view.ap", "view.pa", "view.lateral")
    assert package.contract.modalities == ("DX", "CR")
    assert package.record["outputs"]["decision"]["columns"] == ["nodule", "view"]
    assert (package.signature.opset, package.signature.ir_version) == (18, 8)


def test_it_predicts_a_batch(untouched: Path) -> None:
    pixels = np.stack([_image(500), _image(1500)])
    prediction = Package.load(untouched, threads=1).predict(pixels)
    logit = pixels.mean(axis=(1, 2, 3))[:, None] * [0.004, 0.001, 0.002, -0.003] + [-4, 0, -1, 1]
    np.testing.assert_allclose(prediction.logit, logit, rtol=1e-4)
    np.testing.assert_allclose(prediction.probability[:, 0], 1 / (1 + np.exp(-logit[:, 0])), rtol=1e-4)
    assert prediction.decision.tolist() == [[0, 0], [1, 1]]
    assert (prediction.probability.dtype, prediction.decision.dtype) == (np.float32, np.int64)


def test_the_zip_predicts_the_same(untouched: Path, tmp_path: Path) -> None:
    zipped = Package.load(zip_package(untouched, tmp_path / "mean.zip"))
    pixels = _image()[None]
    np.testing.assert_array_equal(zipped.predict(pixels).probability, Package.load(untouched).predict(pixels).probability)


def test_dicom_npy_and_16_bit_png_give_the_same_answer(untouched: Path, tmp_path: Path) -> None:
    package, pixels = Package.load(untouched), _image(1500)
    np.save(tmp_path / "a.npy", pixels[0])
    Image.fromarray(pixels[0].astype(np.uint16)).save(tmp_path / "b.png")
    files = [_write_dicom(tmp_path / "c d=(1) 胸.dcm", pixels, BodyPartExamined="CHEST"), tmp_path / "a.npy", tmp_path / "b.png"]
    answers = [package.predict_file(file) for file in files]
    assert [answer.probability for answer in answers] == [answers[0].probability] * 3
    assert answers[0].decision == {"nodule": "yes", "view": "pa"}
    assert answers[0].size == (40, 60)
    assert json.loads(json.dumps(answers[0].to_dict()))["decision"] == answers[0].decision


def test_a_dicom_file_may_have_the_name_of_a_picture(untouched: Path, tmp_path: Path) -> None:
    assert Package.load(untouched).predict_file(_write_dicom(tmp_path / "x.png", _image())).decision["nodule"] == "yes"


# What is refused: input


def test_a_wrong_modality_is_refused(untouched: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"x\.dcm: \(0008,0060\) Modality is CT; this model accepts DX, CR") as caught:
        Package.load(untouched).predict_file(_write_dicom(tmp_path / "x.dcm", _image(), "CT"))
    assert caught.value.code == "wrong-modality"


def test_a_wrong_body_part_is_refused(untouched: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"\(0018,0015\) BodyPartExamined is HAND; this model accepts CHEST"):
        Package.load(untouched).predict_file(_write_dicom(tmp_path / "x.dcm", _image(), BodyPartExamined="HAND"))


def test_values_out_of_range_are_refused_with_the_figures(untouched: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _image(5000))
    with pytest.raises(Refusal, match=r"x\.npy: the image's values lie in \[4500, 5500\]; this model accepts \[-1024, 3071\]"):
        Package.load(untouched).predict_file(tmp_path / "x.npy")
    with pytest.raises(Refusal, match=r"image 1 of the batch: the image's values lie in \[4500, 5500\]"):
        Package.load(untouched).predict(np.stack([_image(), _image(5000)]))


def test_a_flat_image_is_refused_with_the_figures(untouched: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 30), 7, np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(Refusal, match=r"the image's contrast is 0 \(99th minus 1st percentile\); this model needs 50"):
        Package.load(untouched).predict_file(tmp_path / "x.png")


def test_one_hot_pixel_is_no_contrast(untouched: Path) -> None:
    pixels = np.zeros((1, 1, 400, 400), np.float32)
    pixels[0, 0, 7, 7] = 3000
    with pytest.raises(Refusal, match="contrast is 0"):
        Package.load(untouched).predict(pixels)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_no_numbers_are_refused(untouched: Path, tmp_path: Path, value: float) -> None:
    pixels = _image().astype(np.float64)
    pixels[0, 3, 3] = value
    np.save(tmp_path / "x.npy", pixels)
    with pytest.raises(Refusal, match="NaN or infinite values"):
        Package.load(untouched).predict_file(tmp_path / "x.npy")


def test_complex_and_empty_arrays_are_refused(untouched: Path, tmp_path: Path) -> None:
    for array in (np.zeros((4, 4), complex), np.zeros((1, 0, 4))):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(Refusal, match="shape"):
            Package.load(untouched).predict_file(tmp_path / "x.npy")


def test_a_batch_of_another_shape_or_dtype_is_refused(untouched: Path) -> None:
    package = Package.load(untouched)
    for pixels in (
        np.zeros((1, 3, 8, 8), np.float32),
        np.zeros((1, 8, 8), np.float32),
        np.zeros((1, 1, 8, 8)),
        np.zeros((0, 1, 8, 8), np.float32),
    ):
        with pytest.raises(Refusal, match=r"this model takes float32 \(N, 1, H, W\)"):
            package.predict(pixels)


def test_a_truncated_png_is_refused(untouched: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:3000])
    with pytest.raises(Refusal, match=r"x\.png cannot be read as a picture"):
        Package.load(untouched).predict_file(tmp_path / "x.png")


def test_a_truncated_dicom_file_is_refused(untouched: Path, tmp_path: Path) -> None:
    path = _write_dicom(tmp_path / "x.dcm", _image())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(Refusal, match=r"x\.dcm: ") as caught:
        Package.load(untouched).predict_file(path)
    assert caught.value.code == "truncated"


def test_a_missing_file_a_folder_and_a_text_are_refused(untouched: Path, tmp_path: Path) -> None:
    package = Package.load(untouched)
    (tmp_path / "notes.txt").write_text("no image")
    for path, message in ((tmp_path / "none.png", "does not exist"), (tmp_path, "is not a file"), (tmp_path / "notes.txt", "DICOM")):
        with pytest.raises(Refusal, match=message):
            package.predict_file(path)


# Channels


def _colour(path: Path) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(image).save(path)
    return image


def test_colour_is_refused_by_a_grey_model_unless_the_package_allows_it(
    untouched: Path, build: Callable[..., Path], tmp_path: Path
) -> None:
    image = _colour(tmp_path / "x.png")
    with pytest.raises(Refusal, match="the image has 3 channels; this model accepts grey images only"):
        Package.load(untouched).predict_file(tmp_path / "x.png")
    allowing = Package.load(build(contract=InputContract(1, 0.0, 255.0, colour_to_grey=True)))
    logit = (image @ [0.299, 0.587, 0.114]).mean() * 0.004 - 4
    assert allowing.predict_file(tmp_path / "x.png").logit["nodule"] == pytest.approx(logit, rel=1e-5)


def test_equal_colour_channels_are_grey(untouched: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.repeat(_image(), 3, axis=0))
    np.save(tmp_path / "y.npy", _image())
    package = Package.load(untouched)
    assert package.predict_file(tmp_path / "x.npy").probability == package.predict_file(tmp_path / "y.npy").probability


def test_grey_is_repeated_for_a_colour_model(build: Callable[..., Path], tmp_path: Path) -> None:
    package = Package.load(build(contract=InputContract(3, 0.0, 255.0)))
    image = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(image).save(tmp_path / "x.png")
    assert package.predict_file(tmp_path / "x.png").logit["nodule"] == pytest.approx(image.mean() * 0.004 - 4, rel=1e-5)


# What is refused: the package


def test_one_byte_changed_in_any_file_is_found(package: Path) -> None:
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        data = bytearray(file.read_bytes())
        for position in {0, len(data) // 2, len(data) - 1}:
            changed = data.copy()
            changed[position] ^= 1
            file.write_bytes(changed)
            with pytest.raises(MedaiError, match=file.relative_to(package).as_posix()) as caught:
                Package.load(package)
            assert "\n" not in str(caught.value)
        file.write_bytes(data)
    Package.load(package)


def test_any_byte_changed_in_the_manifest_is_found(package: Path) -> None:
    file = package / MANIFEST
    data = bytearray(file.read_bytes())
    for position in range(0, len(data), 23):
        changed = data.copy()
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        with pytest.raises(MedaiError):
            Package.load(package)


def test_a_missing_file_is_named(package: Path) -> None:
    (package / "vectors/test_data_set_3/output_1.pb").unlink()
    with pytest.raises(MedaiError, match=r"vectors/test_data_set_3/output_1\.pb is missing; fetch the package again"):
        Package.load(package)


def test_an_extra_file_is_named(package: Path) -> None:
    (package / "vectors/notes.txt").write_text("hello")
    with pytest.raises(MedaiError, match=r"vectors/notes\.txt is not in its manifest"):
        Package.load(package)


def test_a_longer_file_is_named_with_its_sizes(package: Path) -> None:
    with (package / "model_card.md").open("a") as stream:
        stream.write("x")
    with pytest.raises(MedaiError, match=r"model_card\.md was changed \(\d+ bytes, expected \d+\)"):
        Package.load(package)


def test_a_link_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_bytes((package / "model_card.md").read_bytes())
    (package / "model_card.md").unlink()
    os.symlink(tmp_path / "card.md", package / "model_card.md")
    with pytest.raises(MedaiError, match=r"model_card\.md, which is a link"):
        Package.load(package)


def test_a_model_changed_after_loading_is_not_run(package: Path) -> None:
    loaded = Package.load(package)
    data = bytearray((package / "model.onnx").read_bytes())
    data[-1] ^= 1
    (package / "model.onnx").write_bytes(data)
    with pytest.raises(MedaiError, match=r"model\.onnx was changed"):
        loaded.predict(_image()[None])


def test_a_newer_schema_is_refused_by_name(build: Callable[..., Path]) -> None:
    with pytest.raises(MedaiError, match=r"package\.json has schema version 2\.0, this medai reads up to 1\.x; install a newer medai"):
        Package.load(build(schema_version="2.0"))


def test_a_newer_minor_schema_with_unknown_keys_is_read(build: Callable[..., Path]) -> None:
    assert Package.load(build(schema_version="1.9", later={"a": 1})).record["later"] == {"a": 1}


def test_a_newer_manifest_is_refused_by_name(package: Path) -> None:
    (package / MANIFEST).write_text((package / MANIFEST).read_text().replace('"schema_version": "1.0"', '"schema_version": "3.1"'))
    with pytest.raises(MedaiError, match=r"manifest\.json has schema version 3\.1, this medai reads up to 1\.x"):
        Package.load(package)


def test_a_missing_key_of_package_json_is_named(package: Path) -> None:
    record = json.loads((package / "package.json").read_text())
    del record["input"]["value_range"]
    (package / "package.json").write_text(json.dumps(record))
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"package\.json lacks the key 'value_range'"):
        Package.load(package)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"schema_version": null}', '{"schema_version": "1.0", "labels": 3}', "[" * 100_000])
def test_a_package_json_that_is_none_is_refused_in_one_line(package: Path, text: str) -> None:
    (package / "package.json").write_text(text)
    write_manifest(package)
    with pytest.raises(MedaiError, match=r"package\.json") as caught:
        Package.load(package)
    assert "\n" not in str(caught.value)


def test_a_model_with_other_inputs_is_named(build: Callable[..., Path], model_bytes: Callable[..., bytes]) -> None:
    with pytest.raises(MedaiError, match=r"other inputs .*: x float32 \(N, 1, H, W\); expected pixels float32 \(N, 1, H, W\)"):
        Package.load(build(model_bytes("x")))


def test_a_model_with_other_channels_is_named(build: Callable[..., Path], model_bytes: Callable[..., bytes]) -> None:
    with pytest.raises(MedaiError, match=r"pixels float32 \(N, 3, H, W\); expected pixels float32 \(N, 1, H, W\)"):
        Package.load(build(model_bytes(channels=3)))


def test_a_model_with_other_outputs_is_named(build: Callable[..., Path], model_bytes: Callable[..., bytes]) -> None:
    renamed = model_bytes().replace(b"probability", b"odds_or_suc")  # of the same length, so that the file stays whole
    with pytest.raises(MedaiError, match=r"other outputs .*: odds_or_suc float32 \(N, 4\), logit .* expected probability"):
        Package.load(build(renamed))


def test_a_model_that_is_none_is_refused(build: Callable[..., Path]) -> None:
    with pytest.raises(MedaiError, match="ONNX"):
        Package.load(build(b"this is no graph"))


def test_an_unknown_provider_is_named(untouched: Path) -> None:
    with pytest.raises(MedaiError, match=r"'NoSuchProvider' is not in this onnxruntime; available: .*CPUExecutionProvider"):
        Package.load(untouched, providers=["NoSuchProvider"]).predict(_image()[None])


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    for name, message in (
        ("empty", r"is not a package: it holds no manifest\.json"),
        ("text.zip", "neither a directory nor an undamaged zip"),
        ("x", "does not exist"),
    ):
        with pytest.raises(MedaiError, match=message):
            Package.load(tmp_path / name)


# Hostile zips


def _rezip(package: Path, output: Path, name: str, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(zip_package(package, output), "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)
    return output


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil", "./evil", "a//evil"])
def test_a_name_that_leads_outside_the_zip_is_refused(untouched: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(MedaiError, match="which leads outside the package"):
        Package.load(_rezip(untouched, tmp_path / "mean.zip", name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mean.zip"]


def test_a_link_in_a_zip_is_refused(untouched: Path, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr, entry.create_system = 0o120777 << 16, 3
    with zipfile.ZipFile(zip_package(untouched, tmp_path / "mean.zip"), "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(MedaiError, match="'link' as a link"):
        Package.load(tmp_path / "mean.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_in_a_zip_twice_is_refused(untouched: Path, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"holds 'model\.onnx' twice"):
        Package.load(_rezip(untouched, tmp_path / "mean.zip", "model.onnx"))


def test_one_byte_changed_in_a_zip_never_passes(untouched: Path, tmp_path: Path) -> None:
    path = zip_package(untouched, tmp_path / "mean.zip")
    data, expected = bytearray(path.read_bytes()), Package.load(path).hash
    for position in np.random.default_rng(0).integers(0, len(data), 40):
        changed = data.copy()
        changed[position] ^= 1
        path.write_bytes(changed)
        # A date in the zip's own headers may change: no content does.
        assert _hash_or_refusal(path) in (expected, "refused")


def _hash_or_refusal(path: Path) -> str:
    try:
        return Package.load(path).hash
    except MedaiError:
        return "refused"


def test_equal_packages_give_equal_zips(package: Path, untouched: Path, tmp_path: Path) -> None:
    digests = {
        hashlib.sha256(zip_package(path, tmp_path / f"{index}.zip").read_bytes()).hexdigest()
        for index, path in enumerate((package, untouched))
    }
    assert len(digests) == 1
