from pathlib import Path
from typing import Any

import pytest
import yaml

from medai.core.error import MedaiError
from medai.inference.contract_file import read_contract

RIGHT = """
input:
  layout: NHWC
  channels: 3
  size: [224, 192]
  intensity: {method: window, center: -600, width: 1500, to: [0, 255], mean: [123.675, 116.28, 103.53], std: [58.4, 57.1, 57.4]}
  colour_order: BGR
  accepts: {low: -1024, high: 3071}
output: {activation: softmax}
labels:
  - {name: nodule, kind: binary, classes: [no, yes], order: [yes, no]}
  - {name: stage, kind: ordinal, classes: [0, 1, 2], activation: none, output: stages}
thresholds: {nodule: 1e-1}
threshold_origin: ROC of the vendor's own validation
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "vendor.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_contract_is_read_with_all_it_says(tmp_path: Path) -> None:
    contract = read_contract(_write(tmp_path, RIGHT))
    spec = contract.input
    assert (spec.layout, spec.channels, spec.colour_order, spec.low, spec.high) == ("NHWC", 3, "BGR", -1024, 3071)
    assert spec.resize is not None and (spec.resize.height, spec.resize.width) == (224, 192)
    assert (spec.intensity.lower, spec.intensity.upper) == (-1350, 150)  # centre and half of the width on either side
    nodule, stage = contract.labels
    assert nodule.label.classes == ("no", "yes") and nodule.order == ("yes", "no")
    assert stage.label.classes == ("0", "1", "2") and (stage.activation, stage.output) == ("none", "stages")
    assert contract.frozen == {"nodule": 0.1} and contract.origin == "ROC of the vendor's own validation"


def test_words_like_no_and_on_are_names_of_classes(tmp_path: Path) -> None:
    text = RIGHT.replace("classes: [no, yes], order: [yes, no]", "classes: [off, on], order: [on, off]")
    assert read_contract(_write(tmp_path, text)).labels[0].order == ("on", "off")


def test_a_threshold_that_is_not_given_is_half_and_said_so(tmp_path: Path) -> None:
    contract = read_contract(_write(tmp_path, RIGHT.replace("thresholds: {nodule: 1e-1}", "")))
    assert contract.frozen == {"nodule": 0.5}
    assert contract.origin == "0.5, since none was given for nodule"


def test_another_byte_is_another_contract(tmp_path: Path) -> None:
    first = read_contract(_write(tmp_path, RIGHT)).hash
    assert read_contract(_write(tmp_path, RIGHT)).hash == first
    assert read_contract(_write(tmp_path, RIGHT.replace("1500", "1501"))).hash != first


def _changed(path: list[Any], value: Any) -> str:
    node = yaml.safe_load(RIGHT)
    node["labels"][0]["classes"], node["labels"][0]["order"] = ["no", "yes"], ["yes", "no"]
    node["thresholds"]["nodule"] = 0.1
    inner = node
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return yaml.safe_dump(node)


INTENSITY = ["input", "intensity"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["input", "layout"], "NCWH", r"input.layout is 'NCWH'; allowed: NCHW, NHWC"),
        (["input", "layout"], "NHW", r"input.layout NHW has no axis for 3 channels"),
        (["input", "channels"], 4, r"input.channels is 4; images have 1 or 3"),
        (["input", "size"], None, r"input.size is missing"),
        (["input", "size"], 224, r"input.size is 224; expected \[height, width\]"),
        (["input", "size"], [224, 0], r"input.size is \[224, 0\]"),
        (["input", "fit"], "squeeze", r"input.fit is 'squeeze'; allowed: stretch, pad, crop"),
        (["input", "pad"], 0, r"input.pad belongs to fit: pad"),
        (["input", "short_side"], 256, r"input.short_side belongs to fit: crop"),
        (["input", "laout"], "NCHW", r"input.laout is unknown; did you mean layout\?"),
        (["input"], [{"name": "image"}, {"name": "age"}], r"input lists 2 inputs; medai gives a model one image"),
        (["input", "accepts"], {"low": 5, "high": 1}, r"input.accepts.low \(5\) must be < high \(1\)"),
        ([*INTENSITY, "method"], "windows", r"input.intensity.method is 'windows'; allowed: window"),
        ([*INTENSITY, "method"], None, r"input.intensity.method is missing"),
        ([*INTENSITY, "lower"], 0, r"takes center and width of a window, or else lower and upper"),
        ([*INTENSITY, "width"], -5, r"input.intensity.width is -5; it must be above 0"),
        ([*INTENSITY, "width"], "wide", r"input.intensity.width is 'wide'; it must be a number"),
        ([*INTENSITY, "to"], [0, 1], r"input.intensity.mean holds 123.675, outside of to: \[0, 1\]; mean and std are in the units of to"),
        ([*INTENSITY, "to"], [255, 0], r"the first must be smaller"),
        ([*INTENSITY, "mean"], [1, 2], r"input.intensity.mean has 2 values, and the model takes 3 channels"),
        ([*INTENSITY, "std"], [0], r"input.intensity.std holds 0; it must be above 0"),
        ([*INTENSITY, "std"], [300], r"input.intensity.std holds 300, more than to: \[0, 255\] spans"),
        (["output", "activation"], None, r"output.activation is missing; say what is still to be applied"),
        (["output", "activation"], "tanh", r"activation of label 'nodule' is 'tanh'; allowed: none, sigmoid, softmax"),
        (["labels", 1, "activation"], "sigmoid", r"label 'stage' is ordinal, whose probabilities add up to 1"),
        (["labels", 0, "order"], ["yes"], r"label 'nodule' has one column, whose softmax is always 1"),
        (["labels", 0, "order"], ["yes", "maybe"], r"order is \['yes', 'maybe'\]; it must name each of its classes once"),
        (["labels", 0, "kind"], "regression", r"label 'nodule' has kind 'regression'; allowed: binary"),
        (["labels", 0, "classes"], [True, False], r"labels\[0\].classes holds true without quotes"),
        (["labels", 0, "column"], -1, r"column is -1; columns are counted from 0"),
        (["labels"], [], r"labels is empty"),
        (["labels"], {"nodule": 0}, r"labels is .*; expected a list"),
        (["thresholds"], {"nodul": 0.5}, r"thresholds.nodul: there is no such binary label; there are: nodule"),
        (["thresholds"], {"nodule": -1.2}, r"thresholds.nodule is -1.2; it must be a probability"),
        (["threshold_origin"], None, r"threshold_origin is missing"),
        (["network"], "Net", r"network must name a class"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, path: list[Any], value: Any, message: str) -> None:
    file = _write(tmp_path, _changed(path, value))
    with pytest.raises(MedaiError, match=message) as caught:
        read_contract(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the contract is empty; expected keys"),
        ("- a\n- b", r"the contract is \['a', 'b'\]; expected keys"),
        ("input: {a: [}", r"this is not YAML"),
        ("input: 1\ninput: 2", r"the key 'input' stands twice"),
        ("input: !!python/object/apply:os.system [ls]", r"this is not YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_contract_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        read_contract(_write(tmp_path, text))


def test_a_model_given_as_the_contract_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "vendor.onnx"
    path.write_bytes(b"\x08\x08\xff\xfe")
    with pytest.raises(MedaiError, match=r"is not text in UTF-8; contract= names the YAML file and candidate= the model"):
        read_contract(path)
    with pytest.raises(MedaiError, match=r"contract .* does not exist"):
        read_contract(tmp_path / "missing.yaml")
