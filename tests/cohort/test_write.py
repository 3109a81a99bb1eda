from pathlib import Path

import polars as pl
import pytest

from medai.cohort import write
from medai.cohort.write import write_pieces, write_table


@pytest.mark.parametrize("size", [7, 10, 64])
def test_pieces_give_the_bytes_of_the_whole_table(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "ROW_GROUP", 10)
    table = pl.DataFrame(
        {"name": [f"{number * 7919 % 61:032x}" for number in range(64)], "code": [None, "a", "b", None] * 16, "rows": range(64)}
    )
    write_table(tmp_path / "whole", table)
    assert write_pieces(tmp_path / "pieces", table.iter_slices(size), tmp_path / "scratch", "code") == (64, 32)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]
