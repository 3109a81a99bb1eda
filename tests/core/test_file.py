"""Writes are all or nothing."""

from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.core.file import atomic_directory, atomic_file, canonical_json, read_json, write_json


def _write_half(path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018


def _write_half_directory(path: Path) -> None:
    with atomic_directory(path) as temporary:
        (temporary / "one").write_text("1")
        1 / 0  # noqa: B018


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ZeroDivisionError):
        _write_half(tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _write_half_directory(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(tmp_path / "d") as temporary:
        (temporary / "one").write_text("1")
    with atomic_directory(tmp_path / "d", replaces="one") as temporary:
        (temporary / "two").write_text("2")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_directory_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years")
    with pytest.raises(MedaiError, match="holds other things"), atomic_directory(tmp_path / "d", replaces="metrics.json"):
        pass
    assert (tmp_path / "d" / "thesis.txt").read_text() == "years"


def test_json_has_one_canonical_text() -> None:
    assert canonical_json({"b": 1, "a": [1, "é"]}) == canonical_json({"a": [1, "é"], "b": 1}) == '{"a":[1,"é"],"b":1}'


def test_a_broken_json_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(MedaiError, match="is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(MedaiError, match="does not exist"):
        read_json(tmp_path / "b.json")
