from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from medai.core.error import MedaiError, Refusal
from medai.inference.contract import InputSpec, Intensity, Resize
from medai.inference.resample import padded, resized
from medai.inference.vendor_input import arranged, prepared, scaled

WINDOW = Intensity("window", 0, 255)


def _image(channels: int = 1, height: int = 37, width: int = 53, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (channels, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(16, 20), (90, 71), (37, 53), (224, 9)])
@pytest.mark.parametrize(
    ("interpolation", "antialias"), [("bilinear", True), ("bilinear", False), ("bicubic", True), ("bicubic", False), ("nearest", True)]
)
def test_a_resize_is_that_of_torch(size: tuple[int, int], interpolation: str, antialias: bool) -> None:
    image = _image(3)
    own = resized(image, Resize(*size, interpolation=interpolation, antialias=antialias))
    keywords = {} if interpolation == "nearest" else {"align_corners": False, "antialias": antialias}
    theirs = torch.nn.functional.interpolate(torch.from_numpy(image)[None], size=size, mode=interpolation, **keywords)[0].numpy()
    assert own.dtype == np.float32
    np.testing.assert_allclose(own, theirs, atol=0.04)  # of values up to 4000: torch has its places in 32 bits


@pytest.mark.parametrize("interpolation", ["area", "lanczos"])
def test_a_smooth_kernel_keeps_a_flat_image_and_its_mean(interpolation: str) -> None:
    flat = np.full((1, 40, 60), 7.0, np.float32)
    np.testing.assert_allclose(resized(flat, Resize(10, 12, interpolation=interpolation)), 7.0, rtol=1e-6)
    image = _image(1, 40, 60)
    assert resized(image, Resize(10, 12, interpolation="area")).mean() == pytest.approx(image.mean(), rel=1e-5)  # whole boxes


def test_pad_keeps_the_shape_and_fills_the_rest_in_the_middle() -> None:
    image = _image(1, 20, 40)
    content = resized(image, Resize(64, 64, fit="pad"))
    assert content.shape == (1, 32, 64)
    whole = padded(content, 64, 64, -1.0)
    assert (whole[:, :16] == -1).all() and (whole[:, 48:] == -1).all()
    np.testing.assert_array_equal(whole[:, 16:48], content)


def test_crop_is_the_middle_of_the_image_brought_to_its_short_side() -> None:
    image = _image(1, 300, 400).astype(np.float32)
    cut = resized(image, Resize(224, 224, fit="crop", short_side=256))
    whole = np.asarray(Image.fromarray(image[0], "F").resize((341, 256), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(cut[0], whole[16:240, 58:282])  # round(117 / 2) = 58, as torchvision's CenterCrop
    assert resized(image, Resize(224, 224, fit="crop")).shape == (1, 224, 224)


def test_the_steps_are_window_scale_colours_mean_and_deviation() -> None:
    image = np.array([[[-100.0, 0.0, 127.5, 255.0, 300.0]], [[0.0, 0.0, 51.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0, 255.0]]], np.float32)
    given = Intensity("window", 0, 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    found = prepared(image, InputSpec(given, channels=3, colour_order="BGR"))
    expected = (np.clip(image, 0, 255) / 255)[::-1] - np.array(given.mean).reshape(3, 1, 1)
    np.testing.assert_allclose(found.values, expected / np.array(given.std).reshape(3, 1, 1), atol=1e-6)
    assert (found.clipped_low, found.clipped_high) == (pytest.approx(1 / 15), pytest.approx(1 / 15))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Intensity("window", 100, 200), [0, 0, 0.5, 1]),
        (Intensity("window", 100, 200, polarity="MONOCHROME1"), [1, 1, 0.5, 0]),
        (Intensity("window", 100, 200, to=(-1, 1)), [-1, -1, 0, 1]),
        (Intensity("window", 0, 250, to=(0, 255), levels=3), [0, 127.5, 127.5, 255]),
        (Intensity("minmax"), [0, 1 / 3, 0.5, 1]),
        (Intensity("percentile", 0, 50), [0, 0.8, 1, 1]),
        (Intensity("none"), [0, 100, 150, 300]),
    ],
)
def test_an_intensity_maps_known_values(given: Intensity, expected: list[float]) -> None:
    image = np.array([[[0, 100, 150, 300]]], np.float32)
    np.testing.assert_allclose(scaled(image, given)[0][0, 0], expected, atol=1e-6)


def test_zscore_has_mean_0_and_deviation_1_and_a_flat_image_is_0() -> None:
    values = scaled(_image(), Intensity("zscore"))[0]
    assert float(values.mean()) == pytest.approx(0, abs=1e-5) and float(values.std()) == pytest.approx(1, abs=1e-5)
    for method in ("zscore", "minmax"):
        assert (scaled(np.full((1, 4, 4), 9, np.float32), Intensity(method))[0] == 0).all()


def test_resize_and_intensity_do_not_commute_and_the_contract_chooses() -> None:
    image = np.zeros((1, 2, 2), np.float32)
    image[0, 0, 0] = 1000  # cut off before the mean of four, or after it
    by = {
        first: float(prepared(image, InputSpec(WINDOW, resize=Resize(1, 1), first=first)).values[0, 0, 0])
        for first in ("resize", "intensity")
    }
    assert by["intensity"] == pytest.approx(0.25, abs=1e-6) and by["resize"] == pytest.approx(250 / 255, abs=1e-6)


def test_padding_disturbs_no_statistic_and_is_black_unless_said() -> None:
    image = _image(1, 20, 40)
    spec = InputSpec(Intensity("minmax", to=(-1, 1)), resize=Resize(40, 40, fit="pad"))
    found = prepared(image, spec).values
    assert (found[:, :10] == -1).all() and found[:, 10:30].min() == -1 and found[:, 10:30].max() == 1
    assert (prepared(image, InputSpec(spec.intensity, resize=spec.resize, pad=0.5)).values[:, :10] == 0.5).all()


@pytest.mark.parametrize(
    ("layout", "shape", "order"),
    [
        ("NCHW", (2, 3, 4, 5), lambda x: x),
        ("NHWC", (2, 4, 5, 3), lambda x: x.transpose(0, 2, 3, 1)),
        ("CHW", (3, 4, 5), lambda x: x[0]),
        ("HWC", (4, 5, 3), lambda x: x[0].transpose(1, 2, 0)),
        ("NHW", (2, 4, 5), lambda x: x[:, 0]),
        ("HW", (4, 5), lambda x: x[0, 0]),
    ],
)
def test_a_layout_puts_the_axes_in_order(layout: str, shape: tuple[int, ...], order: Callable[[np.ndarray], np.ndarray]) -> None:
    images = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    found = arranged(images, InputSpec(WINDOW, layout=layout), "float32")
    assert found.shape == shape and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, order(images))


def test_integers_are_rounded_and_never_wrap_around() -> None:
    spec = InputSpec(Intensity("window", 0, 4095, to=(0, 255)))
    found = arranged(prepared(np.array([[[0, 2047.5, 4095, 9999]]], np.float32), spec).values[None], spec, "uint8")
    assert found.dtype == np.uint8 and found.ravel().tolist() == [0, 128, 255, 255]
    with pytest.raises(MedaiError, match=r"values in \[0, 300\] do not fit into the uint8 that the model takes"):
        arranged(np.array([0, 300], np.float32).reshape(1, 1, 1, 2), InputSpec(Intensity("none")), "uint8")
    with pytest.raises(MedaiError, match=r"values up to 100000 do not fit into the float16"):
        arranged(np.full((1, 1, 1, 1), 1e5, np.float32), InputSpec(Intensity("none")), "float16")


def test_a_scale_that_an_integer_cannot_hold_is_refused_before_any_image() -> None:
    with pytest.raises(MedaiError, match=r"the model takes uint8, and input.intensity.to is \[0, 1\]; set the whole range"):
        InputSpec(WINDOW).check_dtype("uint8")


def test_a_range_refuses_what_a_window_cuts_off() -> None:
    image = _image()
    InputSpec(Intensity("window", 0, 255)).accepted(1).check_values(image)
    with pytest.raises(Refusal, match=r"values lie in \[\d+, \d+\]; this model accepts \[0, 255\]"):
        InputSpec(Intensity("range", 0, 255)).accepted(1).check_values(image)


@pytest.mark.parametrize(
    "given", [Intensity("percentile", 1, 99, mean=(0.4, 0.5, 0.6)), Intensity("zscore"), Intensity("minmax", levels=16)]
)
def test_a_grey_image_in_three_channels_is_three_times_the_grey_image(given: Intensity) -> None:
    grey, plan = _image(), Resize(16, 20, fit="pad")
    found = prepared(np.repeat(grey, 3, axis=0), InputSpec(given, resize=plan)).values
    one = prepared(grey, InputSpec(Intensity(given.method, given.lower, given.upper, levels=given.levels), resize=plan)).values
    for channel, mean in enumerate(given.mean * (3 // len(given.mean))):
        np.testing.assert_allclose(found[channel], one[0] - mean, atol=1e-6)
    colour = np.concatenate([grey, grey, grey + 1])
    assert (prepared(colour, InputSpec(Intensity("none"))).values == colour).all()
