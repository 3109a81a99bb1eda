import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError, Refusal
from medai.inference.candidate import open_candidate
from medai.inference.predict import predict_cases
from tests.inference.conftest import WriteContract, WriteModel

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 1, 8, 8)).astype(np.float32)
LOGIT = {"output": {"activation": "sigmoid"}}


def _expit(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def test_a_vendors_file_answers_as_computed_by_hand(write_model: WriteModel, write_contract: WriteContract) -> None:
    candidate = open_candidate(write_model([[3.0]]), contract=write_contract(**LOGIT))
    outputs = candidate.predict(np.stack([candidate.prepare(image) for image in PIXELS]))
    np.testing.assert_allclose(outputs.probability[:, 0], _expit(3 * PIXELS.mean(axis=(1, 2, 3)) / 255), rtol=1e-5)
    assert candidate.kind == "onnx" and candidate.thresholds == {"sick": 0.4} and candidate.cohort == ("", "", None)
    assert candidate.threshold_source == "the vendor's manual, 2024, section 4" and candidate.facts["Name"] == "ChestNet 2.1"


@pytest.mark.parametrize(
    ("layout", "shape", "dtype"),
    [
        ("NCHW", ("N", 1, 8, 8), "float32"), ("NHWC", ("N", 8, 8, 1), "float32"), ("NHW", ("N", 8, 8), "float32"),
        ("CHW", (1, 8, 8), "float32"), ("HWC", (8, 8, 1), "float32"), ("HW", (8, 8), "float32"),
        ("NCHW", (1, 1, 8, 8), "float32"), ("NCHW", (2, 1, 8, 8), "float32"), ("NCHW", ("N", "C", "H", "W"), "float32"),
        ("NCHW", ("N", 1, 8, 8), "float16"), ("NHWC", (1, 8, 8, 1), "uint8"),
    ],
)  # fmt: skip
def test_every_layout_batch_and_type_gives_the_same_answer(
    write_model: WriteModel, write_contract: WriteContract, layout: str, shape: tuple[Any, ...], dtype: str
) -> None:
    scale = 255.0 if dtype == "uint8" else 1.0
    model = write_model([[3.0 / scale]], shape=shape, layout=layout, dtype=dtype)
    contract = write_contract(input={"layout": layout}, intensity={"to": [0, int(scale)]}, **LOGIT)
    outputs = open_candidate(model, contract=contract).predict(PIXELS)
    assert outputs.probability.shape == (5, 1)
    np.testing.assert_allclose(outputs.probability[:, 0], _expit(3 * PIXELS.mean(axis=(1, 2, 3)) / 255), rtol=2e-3)


def test_colours_go_in_by_the_contracts_order(write_model: WriteModel, write_contract: WriteContract) -> None:
    model = write_model([[1.0], [0.0], [0.0]], shape=("N", 3, 8, 8))  # sees the first channel alone
    colour = np.zeros((1, 3, 8, 8), np.float32)
    colour[0, 0] = 255.0
    for order, expected in (("RGB", 1.0), ("BGR", 0.0)):
        contract = write_contract(input={"channels": 3, "colour_order": order})
        assert open_candidate(model, contract=contract).predict(colour).probability[0, 0] == expected


def test_large_and_small_images_go_through_the_cohort(write_model: WriteModel, write_contract: WriteContract, cohort: Cohort) -> None:
    candidate = open_candidate(write_model([[3.0]]), contract=write_contract(**LOGIT))
    predicted = predict_cases(candidate, cohort, cohort.select("test"))
    sick = predicted.cases["sick"].to_numpy() == 1
    assert len(sick) == 18 and predicted.outputs.probability[sick, 0].min() > predicted.outputs.probability[~sick, 0].max()


def test_a_contract_beside_the_model_is_found(write_model: WriteModel, write_contract: WriteContract) -> None:
    model = write_model()
    with pytest.raises(MedaiError, match=r"needs a contract.*the model has the input image float32 \(N, 1, 8, 8\) and the output prob"):
        open_candidate(model)
    write_contract()
    assert open_candidate(str(model)).labels[0].name == "sick"


def test_the_hash_stands_for_model_contract_and_outside_weights(write_model: WriteModel, write_contract: WriteContract) -> None:
    model, contract = write_model(external=True), write_contract()
    first = open_candidate(model, contract=contract)
    assert first.predict(PIXELS).probability[:, 0] == pytest.approx(PIXELS.mean(axis=(1, 2, 3)) / 255, rel=1e-5)
    other = open_candidate(model, contract=write_contract(thresholds={"sick": 0.41})).hash
    data = model.with_name("vendor.onnx.data")
    data.write_bytes(np.array([2.0], np.float32).tobytes() + data.read_bytes()[4:])
    assert len({first.hash, other, open_candidate(model, contract=contract).hash}) == 3
    data.unlink()
    with pytest.raises(MedaiError, match=r"keeps weights in vendor.onnx.data, which is not beside it"):
        open_candidate(model, contract=contract)


def test_weights_outside_of_the_folder_are_refused(write_model: WriteModel, write_contract: WriteContract, tmp_path: Path) -> None:
    import onnx

    path = write_model(external=True)
    model = onnx.load(str(path), load_external_data=False)
    for entry in (entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"):
        entry.value = "../secret"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MedaiError, match=r"keeps weights in '../secret', which leads outside of its folder"):
        open_candidate(path, contract=write_contract())
    linked = write_model(external=True, name="linked.onnx")
    data = linked.with_name("linked.onnx.data")
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MedaiError, match=r"keeps weights in 'linked.onnx.data', which leads outside of its folder"):
        open_candidate(linked, contract=write_contract())


WIDE = {"labels": [{"name": "sick", "kind": "binary", "classes": ["no", "yes"], "order": ["no", "yes"]}]}


@pytest.mark.parametrize(
    ("model", "contract", "message"),
    [
        ({}, {"input": {"name": "input_1"}}, r"input.name is 'input_1', and the model's input is image float32 \(N, 1, 8, 8\)"),
        ({}, {"input": {"layout": "NHW"}}, r"input.layout NHW has 3 axes, and the model's input is image"),
        ({"shape": ("N", 8, 8, 3), "layout": "NHWC", "weights": np.eye(3)[:, :1]}, {}, r"NCHW makes 8 channels.*this looks like NHWC"),
        ({}, {"input": {"channels": 3}}, r"input.channels is 3, and the model's input is image"),
        ({"shape": ("N", "C", 8, 8)}, {"input": {"channels": None}}, r"input.channels is missing, and the model leaves it open"),
        ({}, {"input": {"size": [224, 8]}}, r"input.size asks for a height of 224, and the model's input is"),
        ({}, {"input": {"size": "native"}}, r"input.size is native, and the model takes images of one height only, 8"),
        ({"dtype": "float16"}, {"input": {"dtype": "float32"}}, r"input.dtype is float32, and the model's input is image float16"),
        ({}, {"input": {"dtype": "uint8"}}, r"input.dtype is uint8, and the model's input is image float32 \(N, 1, 8, 8\)"),
        ({"dtype": "uint8"}, {"intensity": {"std": 0.5}}, r"the model takes uint8, so zscore, mean and std cannot be right"),
        ({"dtype": "uint8"}, {}, r"the model takes uint8, and input.intensity.to is \[0, 1\]; set the whole range"),
        ({"second_input": True}, {}, r"the model takes 2 inputs \(image .*; age .*\), and medai gives it one image"),
        ({}, {"output": {"name": "scores"}}, r"output.name is 'scores', and the model's output is prob float32 \(N, 1\)"),
        ({"extra_output": True}, {"output": {"name": None}}, r"output.name is missing, and the model has 2 outputs: prob .*; features"),
        ({"weights": [[1.0, 2.0]]}, {}, r"output 'prob' has 2 column\(s\), and the labels need 1"),
        ({}, WIDE, r"output 'prob' has 1 column\(s\), and the labels need 2"),
        ({"activation": "Sigmoid"}, LOGIT, r"comes out of a Sigmoid.* applies sigmoid to it once more for 'sick'; set activation: none"),
        ({"weights": [[1.0, 2.0]], "activation": "Softmax"}, WIDE | {"output": {"activation": "softmax"}}, r"comes out of a Softmax"),
    ],
)  # fmt: skip
def test_a_half_right_contract_is_told_before_any_image(
    write_model: WriteModel, write_contract: WriteContract, model: dict[str, Any], contract: dict[str, Any], message: str
) -> None:
    with pytest.raises(MedaiError, match=message) as caught:
        open_candidate(write_model(**model), contract=write_contract(**contract))
    assert "\n" not in str(caught.value) and "vendor.yaml" in str(caught.value)


def test_outputs_that_the_file_does_not_show_are_told_with_the_first_batch(write_model: WriteModel, write_contract: WriteContract) -> None:
    candidate = open_candidate(write_model([[9.0]]), contract=write_contract())
    with pytest.raises(MedaiError, match=r"vendor.yaml: output 'prob' gives values in .* no probabilities: set activation: sigmoid"):
        candidate.predict(PIXELS)


def test_a_sigmoid_upon_probabilities_is_doubted(write_model: WriteModel, write_contract: WriteContract) -> None:
    candidate = open_candidate(write_model([[0.9]]), contract=write_contract(**LOGIT))
    assert candidate.doubts() == []
    candidate.predict(PIXELS)
    (doubt,) = candidate.doubts()
    assert doubt.startswith("Every value of the output 'prob' lies in [0.") and "applies sigmoid" in doubt
    wide = open_candidate(write_model([[-0.9]]), contract=write_contract(**LOGIT))
    wide.predict(PIXELS)
    assert wide.doubts() == []


def test_logits_that_are_called_probabilities_are_doubted_by_the_graph(write_model: WriteModel, write_contract: WriteContract) -> None:
    (doubt,) = open_candidate(write_model([[0.5]]), contract=write_contract()).doubts()
    assert doubt.startswith("The output 'prob' comes out of a MatMul") and doubt.endswith("activation is sigmoid or softmax.")
    assert open_candidate(write_model([[0.5]], activation="Sigmoid"), contract=write_contract()).doubts() == []


def test_a_window_of_other_units_is_doubted(write_model: WriteModel, write_contract: WriteContract) -> None:
    for bounds, message in (((0, 65535), "or less of the model's scale"), ((-900, -500), "or more of the pixels lie beyond the window")):
        contract = write_contract(intensity={"lower": bounds[0], "upper": bounds[1]})
        candidate = open_candidate(write_model(), contract=contract)
        candidate.predict(PIXELS)
        assert any(message in doubt for doubt in candidate.doubts())
        assert not any("100% or more" in doubt or "0.0% or less" in doubt for doubt in candidate.doubts())


def test_an_image_beyond_the_contract_is_refused_by_itself(write_model: WriteModel, write_contract: WriteContract) -> None:
    candidate = open_candidate(write_model(), contract=write_contract(intensity={"method": "range"}))
    candidate.prepare(PIXELS[0])
    with pytest.raises(Refusal, match=r"this model accepts \[0, 255\]"):
        candidate.prepare(PIXELS[0] + 1000)
    with pytest.raises(Refusal, match=r"3 channels; this model accepts grey images only"):
        candidate.prepare(np.concatenate([PIXELS[0], PIXELS[1], PIXELS[2]]))


def test_other_files_are_told_apart(tmp_path: Path, write_contract: WriteContract) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(MedaiError, match=r"broken.onnx: (not an ONNX|ONNX data)"):
        open_candidate(broken, contract=write_contract())
    (tmp_path / "folder").mkdir()
    with pytest.raises(MedaiError, match=r"needs no contract=; leave it out"):
        open_candidate(tmp_path / "folder", contract=write_contract())
    (tmp_path / "folder" / "a.onnx").touch()
    with pytest.raises(MedaiError, match=r"folder with a.onnx; give the file itself"):
        open_candidate(tmp_path / "folder")
    (tmp_path / "folder" / "b.onnx").touch()
    with pytest.raises(MedaiError, match=r"folder holds a.onnx, b.onnx; name one of them"):
        open_candidate(tmp_path / "folder", contract=write_contract())
    with pytest.raises(MedaiError, match=r"candidate \S+ does not exist"):
        open_candidate(tmp_path / "missing.onnx")


def test_torch_and_mlflow_stay_out(write_model: WriteModel, write_contract: WriteContract) -> None:
    code = (
        "import sys, numpy; from medai.inference.candidate import open_candidate;"
        "c = open_candidate(sys.argv[1]); c.predict(numpy.zeros((1, 1, 8, 8), 'float32'));"
        "print([name for name in ('torch', 'mlflow', 'onnx', 'monai') if name in sys.modules])"
    )
    model, _ = write_model(), write_contract()
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
