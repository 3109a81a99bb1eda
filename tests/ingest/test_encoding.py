"""How the values of a cohort are stored in its views."""

import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.ingest.view import choose_encoding


def cases(lows: list[float], highs: list[float], dtype: str) -> pl.DataFrame:
    names = [f"c{number}" for number in range(len(lows))]
    return pl.DataFrame(
        {
            "case_id": names,
            "pixel_min": [float(low) for low in lows],
            "pixel_max": [float(high) for high in highs],
            "dtype": [dtype] * len(lows),
        }
    )


def test_one_image_far_out_does_not_flatten_the_others_unseen() -> None:
    with pytest.raises(MedaiError, match=r"case c2 has values from 0 to 1e\+09, while half of the images span less than 255"):
        choose_encoding(cases([0, 0, 0], [255, 255, 1e9], "float32"))


def test_fractional_values_of_one_kind_are_stored_in_fine_steps() -> None:
    encoding = choose_encoding(cases([-1024.5, -1000, -1024], [3071, 1500.5, 2000], "float32"))
    assert encoding.dtype == "uint16"
    assert encoding.scale < 0.1
