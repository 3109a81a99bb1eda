from typing import Any

import numpy as np
import pytest

from medai.core.error import MedaiError, Refusal
from medai.dicom.deidentify.burned_in import BurnedIn, Crop, judge_burned_in

CT, DX, US, SC, WSI = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "1.1", "6.1", "7", "77.1.6")
)  # fmt: skip
NONE = BurnedIn()
HIDE = {"modality": "US", "manufacturer": "acme", "rows": 100, "columns": 200, "hide": [[0, 0, 20, 200]]}


@pytest.mark.parametrize("burned_in", [None, "", "NO"])
@pytest.mark.parametrize(("modality", "sop_class"), [("CT", CT), ("DX", DX), ("MR", "1.2.840.10008.5.1.4.1.1.4")])
def test_detector_images_pass_where_they_say_nothing_or_no(modality: str, sop_class: str, burned_in: str | None) -> None:
    assert judge_burned_in(modality, sop_class, burned_in, "ORIGINAL\\PRIMARY", NONE) is None


@pytest.mark.parametrize(
    ("modality", "sop_class", "burned_in", "image_type"),
    [
        ("CT", CT, "YES", ""),
        ("CT", CT, "MAYBE", ""),
        ("US", US, "NO", ""),
        ("CT", SC, None, ""),
        ("XC", DX, None, ""),
        ("OT", DX, "NO", ""),
        ("CT", CT, None, "DERIVED\\SECONDARY\\SCREEN SAVE"),
        ("SM", WSI, "NO", "ORIGINAL\\PRIMARY\\LABEL\\NONE"),
    ],
)
def test_images_that_may_hold_text_are_refused(modality: str, sop_class: str, burned_in: str | None, image_type: str) -> None:
    with pytest.raises(Refusal, match="add a rule to burned_in") as caught:
        judge_burned_in(modality, sop_class, burned_in, image_type, NONE)
    assert caught.value.code == "burned-in-text"


def test_a_rule_hides_a_region_of_the_images_that_it_names() -> None:
    policy = BurnedIn.of([HIDE])
    image: dict[str, Any] = {"manufacturer": "ACME Corp", "rows": 100, "columns": 200}
    assert judge_burned_in("US", US, None, None, policy, **image) == Crop(((0, 0, 20, 200),))
    for other in ({"manufacturer": "Other"}, {"rows": 99}):
        with pytest.raises(Refusal):
            judge_burned_in("US", US, None, None, policy, **image | other)


def test_only_a_rule_that_says_yes_lets_an_image_pass_that_says_yes() -> None:
    with pytest.raises(Refusal):
        judge_burned_in("CT", CT, "YES", None, BurnedIn.of([{"modality": "CT", "allow": True}]))
    assert judge_burned_in("CT", CT, "YES", None, BurnedIn.of([{"modality": "CT", "burned_in": "YES", "allow": True}])) is None


def test_a_crop_blackens_a_copy() -> None:
    pixels = np.full((1, 10, 10), 7)
    pixels[0, 9, 9] = -3
    hidden = Crop(((0, 0, 2, 10),)).apply(pixels)
    assert (hidden[0, :2] == -3).all() and (hidden[0, 2:] == pixels[0, 2:]).all() and (pixels[0, :2] == 7).all()


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Refusal, match="20, column 200 of an image of 10 x 10"):
        Crop(((0, 0, 20, 200),)).apply(np.zeros((1, 10, 10)))


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ([{"modality": "US"}], "either hides regions"),
        ([{**HIDE, "allow": True}], "either hides regions"),
        ([{"modality": "US", "hide": [[0, 0, 1, 1]]}], "names rows and columns"),
        ([{**HIDE, "hide": [[5, 0, 5, 9]]}], "expected \\[top, left, bottom, right\\]"),
        ([{**HIDE, "hide": "top"}], "expected \\[\\[top"),
        ([{**HIDE, "manufacturer": "("}], "not a regular expression"),
        ([{**HIDE, "maker": "x"}], "unknown key 'maker'"),
        ({"modality": "US"}, "must be a list of rules"),
    ],
)
def test_a_wrong_rule_is_named(rules: Any, match: str) -> None:
    with pytest.raises(MedaiError, match=match):
        BurnedIn.of(rules)
