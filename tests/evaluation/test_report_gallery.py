"""The gallery: which cases it shows, their maps, and a colour scale that can be read."""

import base64
import io
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.core.label import Label
from medai.evaluation.evaluate import evaluate
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.gallery import Pictures, binary_galleries, encoded, multiclass_galleries, window
from medai.evaluation.report.overlay import OPACITY, Explanation, colours, legend_stops, opacity, overlay, shown
from medai.evaluation.report.report import render
from medai.evaluation.report.text import ENGLISH
from medai.evaluation.table import label_data

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]
CONTEXT = ReportContext("Squares", CohortSummary("squares"), maps="gradcam")


class Explained:
    """Gives every case one picture, except c000, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def __call__(self, case_id: str, label: str, index: int) -> Explanation | None:
        self.asked.append((case_id, label, index))
        if case_id == "c000":
            return None
        saliency = np.zeros((20, 30))
        saliency[4:8, 10:14] = 1
        return Explanation(np.full((1, 20, 30), 0.5), saliency)


def opened(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))).convert("RGB"))


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB in [0, 1], independent of the scale's own space."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.asarray(116 * np.cbrt(luminance) - 16)


def test_the_scale_grows_lighter_in_equal_steps_and_is_nowhere_grey() -> None:
    scale = colours(np.linspace(0, 1, 101))
    steps = np.diff(lightness(scale))
    assert steps.min() > 0 and steps.max() / steps.min() < 2.5
    assert (scale.max(axis=1) - scale.min(axis=1)).min() > 0.3
    assert scale.min() >= 0 and scale.max() <= 1
    np.testing.assert_array_equal(colours(np.array([-1.0, 2.0])), scale[[0, -1]])


def test_the_scale_has_no_colour_that_was_cut_to_what_a_screen_can_show() -> None:
    """A cut colour would make two steps the same."""
    scale = colours(np.linspace(0, 1, 257))
    distances = np.linalg.norm(np.diff(scale, axis=0), axis=1)
    assert distances.min() > 0.2 * distances.max()


def test_where_the_map_says_nothing_the_image_stays_and_where_it_is_strongest_it_shines_through() -> None:
    image = np.stack([np.tile(np.arange(0, 250, 25, dtype=np.uint8), (4, 1))])
    nothing, most = overlay(image, np.zeros((4, 10))), overlay(image, np.ones((4, 10)))
    np.testing.assert_array_equal(nothing, image.repeat(3, axis=0))
    assert (np.diff(most.astype(int), axis=2) >= 5).all()
    assert opacity(np.array([0.0, 0.5, 1.0])).tolist() == [0, OPACITY, OPACITY]


def test_a_colour_image_is_grey_under_its_map_so_that_colour_means_the_map() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 6, 6)).astype(np.uint8)
    under = overlay(image, np.zeros((6, 6)))
    assert (under == under[0]).all()
    assert (np.ptp(overlay(image, np.ones((6, 6))).astype(int), axis=0) > 30).all()


def test_inputs_from_0_to_1_are_shown_as_they_are_and_others_are_stretched() -> None:
    assert shown(np.array([[[0.25, 0.5]]]), window).tolist() == [[[64, 128]]]
    scores = shown(np.linspace(-2, 3, 1000).reshape(1, 10, 100), window)
    assert (scores.min(), scores.max()) == (0, 255)


def test_a_picture_keeps_the_proportions_of_the_input_and_its_map_stays_in_its_place() -> None:
    explanation = Explained()("c001", "x", 1)
    assert explanation is not None
    image, over = (opened(encoded(shown(explanation.image, window), each)) for each in (None, explanation.saliency))
    assert image.shape == over.shape == (192, 288, 3)
    coloured = np.ptp(over.astype(int), axis=2) > 60
    rows, columns = np.nonzero(coloured)
    assert rows.mean() == pytest.approx(192 * 6 / 20, abs=3) and columns.mean() == pytest.approx(288 * 12 / 30, abs=3)


def test_wrong_calls_come_first_then_half_as_many_right_ones_each_the_surest_first(binary: Scored) -> None:
    table, labels, thresholds = binary
    evaluation, explain = evaluate(table, labels, thresholds, replicates=5), Explained()
    galleries = binary_galleries(evaluation, label_data(evaluation.table, labels[0]), 6, Pictures(None, explain))
    sure = table.with_columns(called=(pl.col("probability.pneumonia") >= 0.5).cast(int))
    for gallery, (truth, called, count) in zip(galleries, [(1, 0, 6), (0, 1, 6), (1, 1, 3), (0, 0, 3)], strict=True):
        kind = sure.filter((pl.col("target.pneumonia") == truth) & (pl.col("called") == called))
        expected = kind.sort("probability.pneumonia", descending=bool(called))["case_id"].to_list()[:count]
        assert [picture.case_id for picture in gallery.pictures] == expected
        names = ("normal", "pneumonia")
        assert {picture.lines[0] for picture in gallery.pictures} == {f"truth: {names[truth]} · called: {names[called]}"}
        assert all(re.fullmatch(r"probability 0\.\d{3}, threshold 0\.5", picture.lines[1]) for picture in gallery.pictures)
    assert {asked[1:] for asked in explain.asked} == {("pneumonia", 1)}


def test_of_several_classes_the_called_one_is_explained_and_right_calls_take_turns(ordinal: Scored) -> None:
    table, labels, thresholds = ordinal
    evaluation, explain = evaluate(table, labels, thresholds, replicates=5), Explained()
    errors, right = multiclass_galleries(evaluation, label_data(evaluation.table, labels[0]), 8, Pictures(None, explain))
    for (_, label, index), picture in zip(explain.asked, (*errors.pictures, *right.pictures), strict=True):
        assert label == "grade" and picture.lines[0].endswith(f"called: {labels[0].classes[index]}")
    truths = [re.match("truth: (.+) · called: (.+)", picture.lines[0]) for picture in right.pictures]
    assert sorted(match[1] for match in truths if match) == sorted(labels[0].classes)
    assert all(match and match[1] == match[2] for match in truths)
    assert all(match and match[1] != match[2] for match in (re.match("truth: (.+) · called: (.+)", p.lines[0]) for p in errors.pictures))


def test_the_report_shows_image_and_map_side_by_side_with_a_legend_and_what_it_does_not_show(binary: Scored) -> None:
    table, labels, thresholds = binary
    evaluation, explain = evaluate(table, labels, thresholds, replicates=5), Explained()
    html = render(evaluation, CONTEXT, None, explain)
    shown_cases = len(explain.asked)
    assert shown_cases > 20
    assert html.count('alt="map of c') == shown_cases - sum(asked[0] == "c000" for asked in explain.asked)
    assert legend_stops()[-1] in html and ENGLISH["maps_low"] in html
    assert "Selvaraju et al. 2017" in html and "It does not show why, nor that a finding lies there" in html
    assert "handle it as patient data" in html


def test_a_case_without_a_map_says_so_and_so_does_a_report_without_any(binary: Scored) -> None:
    table, labels, thresholds = binary
    evaluation = evaluate(table, labels, thresholds, replicates=5)
    first = evaluation.table.filter(pl.col("target.pneumonia") == 1).sort("probability.pneumonia")["case_id"][0]

    def all_but_one(case_id: str, label: str, index: int) -> Explanation | None:
        return None if case_id == first else Explained()(case_id, label, index)

    assert render(evaluation, CONTEXT, None, all_but_one).count(ENGLISH["no_map"] + "</div>") == 1
    context = ReportContext("Squares", CohortSummary("squares"), maps_note="No saliency maps: a package gives no gradients.")
    html = render(evaluation, context)
    assert html.count("No saliency maps: a package gives no gradients.") == 1
    assert ENGLISH["maps_limits"] not in html and ENGLISH["no_map"] + "</div>" not in html
