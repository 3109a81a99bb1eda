import numpy as np
import polars as pl
import pytest

from medai.source import packed
from medai.source.packed import Packed, compact


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_rows_come_back_in_the_order_in_which_they_are_named(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PIECE", piece)
    table = pl.DataFrame({"item": [f"{number:03d}" for number in range(50)], "size": range(50)})
    held = Packed.of(table)
    assert held.height == 50 and pl.concat(held.frames()).equals(table)
    for rows in ([], [49], [3, 3, 0], np.random.default_rng(0).permutation(50).tolist()):
        assert held.take(np.array(rows, np.uint32)).equals(table[rows])


def test_a_table_without_rows_stays_one() -> None:
    held = Packed.of(pl.DataFrame(schema={"item": pl.String}))
    assert held.height == 0 and held.take(np.zeros(0, np.uint32)).schema == {"item": pl.String} and not list(held.frames())


def test_few_rows_of_many_keep_their_own_texts_alone() -> None:
    rows = pl.DataFrame({"item": [f"{number:060d}" for number in range(10_000)]})[::1000]
    assert compact(rows).equals(rows) and compact(rows)["item"].to_arrow().nbytes < 2_000
