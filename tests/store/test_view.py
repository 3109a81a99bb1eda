import pickle
from pathlib import Path

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.core.file import write_json
from medai.store.view import Encoding, View, checksums


@pytest.mark.parametrize(
    ("low", "high", "integers", "dtype"),
    [
        (0, 255, True, "uint8"),
        (0, 4095, True, "int16"),
        (-1024, 3071, True, "int16"),
        (0, 65535, True, "uint16"),
        (0, 40000, True, "uint16"),
    ],
)
def test_whole_numbers_that_fit_are_stored_as_they_are(low: float, high: float, integers: bool, dtype: str) -> None:
    assert Encoding.choose(low, high, integers) == Encoding(dtype)


@pytest.mark.parametrize(("low", "high", "integers"), [(0.0, 1.0, False), (-70000, 5, True), (0, 1, True), (-1e-3, 2e4, False)])
def test_everything_else_takes_65536_steps(low: float, high: float, integers: bool) -> None:
    encoding = Encoding.choose(low, high, integers)
    values = np.linspace(low, high, 10_001)
    assert encoding.dtype == "uint16"
    assert np.abs(encoding.decode(encoding.encode(values)) - values).max() <= encoding.scale * 0.5 + 1e-6 * abs(high - low)


def test_one_constant_value_survives() -> None:
    encoding = Encoding.choose(3.5, 3.5, False)
    assert encoding.decode(encoding.encode(np.array([3.5]))) == 3.5


def test_values_outside_are_clipped_and_halves_are_rounded_to_even() -> None:
    assert Encoding("uint8").encode(np.array([-3.0, 0.4, 1.5, 2.5, 300.0])).tolist() == [0, 0, 2, 2, 255]


def _view(folder: Path) -> np.ndarray:
    pixels = np.arange(6 * 2 * 3 * 4, dtype=np.int16).reshape(6, 2, 3, 4)
    (folder / "pixels.raw").write_bytes(pixels.tobytes())
    checksums(pixels).tofile(folder / "checksums.raw")
    write_json(folder / "view.json", {"schema_version": "1.0", "shape": [6, 2, 3, 4], "dtype": "int16", "scale": 1.0, "offset": 0.0})
    return pixels


def test_rows_are_gathered_in_any_order(tmp_path: Path) -> None:
    pixels = _view(tmp_path)
    view = View.open(tmp_path)
    assert view.shape == (6, 2, 3, 4) and view.dtype == np.int16 and view.ordinals.tolist() == [0, 1, 2, 3, 4, 5]
    assert (view.gather(np.array([5, 0, 5])) == pixels[[5, 0, 5]]).all()


def test_a_view_travels_to_workers_after_it_was_read(tmp_path: Path) -> None:
    pixels = _view(tmp_path)
    view = View.open(tmp_path)
    view.gather(np.array([0]))
    data = pickle.dumps(view)
    assert len(data) < 2000
    assert (pickle.loads(data).gather(np.array([3])) == pixels[3]).all()


def test_a_view_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    _view(tmp_path)
    (tmp_path / "pixels.raw").write_bytes(b"123")
    with pytest.raises(MedaiError, match=r"has 3 bytes, expected 288; remove .*, it is made again"):
        View.open(tmp_path)


def test_a_newer_view_is_refused_by_name(tmp_path: Path) -> None:
    _view(tmp_path)
    write_json(tmp_path / "view.json", {"schema_version": "2.0"})
    with pytest.raises(MedaiError, match="a view of schema 2.0; this medai reads up to 1.1"):
        View.open(tmp_path)
