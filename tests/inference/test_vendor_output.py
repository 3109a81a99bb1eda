from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.inference.contract import InputSpec, Intensity, LabelSpec, VendorContract
from medai.inference.vendor_output import read_outputs

SICK = Label("sick", "binary", ("no", "yes"))
STAGE = Label("stage", "multiclass", ("a", "b", "c"))
RAW = np.random.default_rng(0).normal(0, 3, (7, 3)).astype(np.float32)


def _contract(*labels: LabelSpec, **thresholds: float) -> VendorContract:
    return VendorContract(Path("v.yaml"), InputSpec(Intensity("none")), labels, thresholds, "manual" if thresholds else "")


def test_a_logit_becomes_a_probability_and_keeps_its_logit() -> None:
    outputs = read_outputs({"o": RAW[:, :1]}, _contract(LabelSpec(SICK, ("yes",), "sigmoid"), sick=0.3), 7)
    np.testing.assert_allclose(outputs.probability, expit(RAW[:, :1].astype(float)), rtol=1e-12)
    np.testing.assert_array_equal(outputs.logit, RAW[:, :1])
    np.testing.assert_array_equal(outputs.decision, outputs.probability >= 0.3)


def test_a_column_of_the_negative_class_is_turned_over() -> None:
    raw = expit(RAW[:, :1].astype(float))
    outputs = read_outputs({"o": raw}, _contract(LabelSpec(SICK, ("no",), "none")), 7)
    np.testing.assert_allclose(outputs.probability, 1 - raw, rtol=1e-12)
    np.testing.assert_allclose(outputs.logit, logit(1 - raw), rtol=1e-7)
    by_logit = read_outputs({"o": RAW[:, :1]}, _contract(LabelSpec(SICK, ("no",), "sigmoid")), 7)
    np.testing.assert_allclose(by_logit.probability, expit(-RAW[:, :1].astype(float)), rtol=1e-12)


@pytest.mark.parametrize("order", [("no", "yes"), ("yes", "no")])
def test_two_columns_are_read_in_their_order(order: tuple[str, str]) -> None:
    pair = RAW[:, :2].astype(float)
    at = order.index("yes")
    positive = softmax(pair, axis=1)[:, at : at + 1]
    for raw, activation in ((pair, "softmax"), (softmax(pair, axis=1), "none")):
        outputs = read_outputs({"o": raw}, _contract(LabelSpec(SICK, order, activation)), 7)
        np.testing.assert_allclose(outputs.probability, positive, rtol=1e-12)
        np.testing.assert_allclose(expit(outputs.logit), positive, rtol=1e-9)
    sigmoid = read_outputs({"o": pair}, _contract(LabelSpec(SICK, order, "sigmoid")), 7)
    np.testing.assert_allclose(sigmoid.probability, expit(pair[:, at : at + 1]), rtol=1e-12)


def test_classes_come_out_in_the_order_of_the_label() -> None:
    spec = LabelSpec(STAGE, ("c", "a", "b"), "softmax")
    outputs = read_outputs({"o": RAW}, _contract(spec), 7)
    expected = softmax(RAW.astype(float), axis=1)[:, [1, 2, 0]]
    np.testing.assert_allclose(outputs.probability, expected, rtol=1e-12)
    np.testing.assert_array_equal(outputs.decision[:, 0], expected.argmax(axis=1))
    np.testing.assert_allclose(softmax(outputs.logit, axis=1), expected, rtol=1e-12)
    logs = np.log(softmax(RAW.astype(float), axis=1))
    np.testing.assert_allclose(read_outputs({"o": logs}, _contract(spec), 7).probability, expected, rtol=1e-12)


def test_labels_share_an_output_by_place_or_by_number_and_may_have_their_own() -> None:
    other = Label("other", "binary", ("no", "yes"))
    first, second = LabelSpec(SICK, ("yes",), "sigmoid"), LabelSpec(other, ("yes",), "sigmoid")
    by_place = read_outputs({"o": RAW[:, :2]}, _contract(first, second), 7)
    np.testing.assert_array_equal(by_place.logit, RAW[:, :2])
    numbered = _contract(LabelSpec(SICK, ("yes",), "sigmoid", column=2), LabelSpec(other, ("yes",), "sigmoid", column=0))
    np.testing.assert_array_equal(read_outputs({"o": RAW}, numbered, 7).logit, RAW[:, [2, 0]])
    apart = _contract(LabelSpec(SICK, ("yes",), "sigmoid", "b"), LabelSpec(STAGE, STAGE.classes, "softmax", "a"))
    outputs = read_outputs({"b": RAW[:, :1], "a": RAW}, apart, 7)
    np.testing.assert_array_equal(outputs.logit, np.concatenate([RAW[:, :1], RAW], axis=1))


@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 1, 1, 1)])
def test_axes_of_length_1_do_not_matter(shape: tuple[int, ...]) -> None:
    outputs = read_outputs({"o": RAW[:, 0].reshape(shape)}, _contract(LabelSpec(SICK, ("yes",), "sigmoid")), 7)
    np.testing.assert_array_equal(outputs.logit[:, 0], RAW[:, 0])


def test_extreme_scores_stay_finite() -> None:
    raw = np.array([[-900.0], [900.0]])
    outputs = read_outputs({"o": raw}, _contract(LabelSpec(SICK, ("yes",), "sigmoid")), 2)
    assert outputs.probability.ravel().tolist() == [0, 1]
    sure = read_outputs({"o": np.array([[0.0], [1.0]])}, _contract(LabelSpec(SICK, ("yes",), "none")), 2)
    assert np.isfinite(sure.logit).all() and sure.probability.ravel().tolist() == [0, 1]


def test_a_threshold_includes_itself() -> None:
    outputs = read_outputs({"o": np.array([[0.25], [0.2]])}, _contract(LabelSpec(SICK, ("yes",), "none"), sick=0.25), 2)
    assert outputs.decision.ravel().tolist() == [1, 0]


ONE, TWO, NUMBERED = (
    LabelSpec(SICK, ("yes",), "none"),
    LabelSpec(SICK, ("no", "yes"), "none"),
    LabelSpec(SICK, ("yes",), "sigmoid", column=3),
)


@pytest.mark.parametrize(
    ("raw", "spec", "message"),
    [
        (RAW[:, :1], ONE, r"values in \[-\S+, \S+\] for 'sick', which are no probabilities: set activation: sigmoid"),
        (RAW[:, :2], TWO, r"which are no probabilities: set activation: softmax"),
        (
            np.log(softmax(RAW, axis=1)),
            LabelSpec(STAGE, STAGE.classes, "none"),
            r"these look like log probabilities: set activation: softmax",
        ),
        (expit(RAW[:, :2]), TWO, r"the 2 columns of 'sick' in output 'o' add up to \S+ and not to 1"),
        (RAW[:, :2], ONE, r"output 'o' has 2 column\(s\), and the labels need 1 \(sick 1\); where it holds both classes, give their order"),
        (RAW[:, :1], TWO, r"output 'o' has 1 column\(s\), and the labels need 2 \(sick 2\); one column is the positive class alone"),
        (RAW, TWO, r"give every label its first column, counted from 0"),
        (RAW, NUMBERED, r"label 'sick' takes column 3, and output 'o' has the columns 0 to 2"),
        (np.full((7, 1), np.nan), ONE, r"output 'o' is NaN or infinite for 7 of 7 image\(s\); look at input.intensity"),
        (RAW[:5, :1], ONE, r"output 'o' has shape \(5, 1\) for 7 image\(s\)"),
        (np.zeros((7, 2, 4)), ONE, r"output 'o' has shape \(7, 2, 4\), which is a map and no score"),
        ([{"no": 0.1}], ONE, r"output 'o' is no tensor of numbers"),
    ],
)
def test_what_cannot_be_right_is_said_in_one_line(raw: Any, spec: LabelSpec, message: str) -> None:
    with pytest.raises(MedaiError, match=message) as caught:
        read_outputs({"o": raw}, _contract(spec), 7)
    assert "\n" not in str(caught.value)


def test_two_labels_do_not_take_one_column() -> None:
    other = LabelSpec(Label("other", "binary", ("no", "yes")), ("yes",), "none", column=1)
    with pytest.raises(MedaiError, match=r"labels 'sick' and 'other' both take column 1"):
        read_outputs({"o": RAW}, _contract(LabelSpec(SICK, ("yes",), "none", column=1), other), 7)
    with pytest.raises(MedaiError, match=r"label 'sick' has no column, and others of output 'o' have"):
        read_outputs({"o": RAW}, _contract(ONE, other), 7)
