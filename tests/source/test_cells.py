import re
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.cells import read_table, split_sheet

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def _workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    """The least that is a workbook (ECMA-376): numbers as Excel stores them, floating-point, and texts."""

    def cell(place: int, row: int, value: Any) -> str:
        name = f"{chr(65 + place)}{row}"
        if value is None:
            return f'<c r="{name}"/>'
        if isinstance(value, bool):
            return f'<c r="{name}" t="b"><v>{int(value)}</v></c>'
        if isinstance(value, int | float):
            return f'<c r="{name}"><v>{value}</v></c>'
        if value.startswith("#"):
            return f'<c r="{name}" t="e"><v>{value}</v></c>'
        return f'<c r="{name}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'

    names = list(sheets)
    entries = "".join(f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>' for number, name in enumerate(names, 1))
    kind = f"{OFFICE}/worksheet"
    links = "".join(f'<Relationship Id="r{n}" Type="{kind}" Target="worksheets/s{n}.xml"/>' for n in range(1, len(names) + 1))
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{types}"><Default Extension="xml" ContentType="application/xml"/></Types>')
        root = f'<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}">{root}</Relationships>')
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{entries}</sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>')
        for number, name in enumerate(names, 1):
            rows = "".join(
                f'<row r="{line}">{"".join(cell(place, line, value) for place, value in enumerate(row))}</row>'
                for line, row in enumerate(sheets[name], 1)
            )
            archive.writestr(f"xl/worksheets/s{number}.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>')
    return path


def _csv(folder: Path, content: bytes | str) -> dict[str, list[Any]]:
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path).to_dict(as_series=False)


def test_numbers_that_excel_stores_as_floats_are_whole_and_texts_keep_their_zeros(tmp_path: Path) -> None:
    rows = [["id", "code", "x", "sick"], [12.0, "007", 0.5, True], [20230101123456.0, "8", -1.0, False], [3, None, "#N/A", None]]
    frame = read_table(_workbook(tmp_path / "t.xlsx", Labels=rows))
    assert frame.to_dict(as_series=False) == {
        "id": ["12", "20230101123456", "3"], "code": ["007", "8", None], "x": ["0.5", "-1", None], "sick": ["true", "false", None],
    }  # fmt: skip


def test_a_sheet_is_named_after_an_exclamation_mark(tmp_path: Path) -> None:
    book = _workbook(tmp_path / "t.xlsx", First=[["a"], ["1"]], **{"Round 2": [["b"], ["2"]]})
    assert read_table(book).columns == ["a"] and read_table(book, "Round 2").to_dict(as_series=False) == {"b": ["2"]}
    assert split_sheet(f"{book}!Round 2") == (str(book), "Round 2") and split_sheet("odd!name.csv") == ("odd!name.csv", None)
    with pytest.raises(MedaiError, match=r"t.xlsx has no sheet 'Round 3'; its sheets: First, Round 2"):
        read_table(book, "Round 3")


def test_empty_rows_and_columns_of_a_sheet_are_left_out(tmp_path: Path) -> None:
    rows = [[None, None, None], ["a", "b", None], ["1", "2", None], [None, None, None], ["3", None, " "], [" ", "", None]]
    assert read_table(_workbook(tmp_path / "t.xlsx", S=rows)).to_dict(as_series=False) == {"a": ["1", "3"], "b": ["2", None]}


def test_what_is_no_workbook_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK no")
    with pytest.raises(MedaiError, match=r"t.xlsx cannot be read as a table \(.*\); give an Excel workbook"):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(MedaiError, match="holds no rows"):
        read_table(_workbook(tmp_path / "u.xlsx", S=[["a", "b"]]))
    with pytest.raises(MedaiError, match="holds no rows"):
        read_table(_workbook(tmp_path / "v.xlsx", S=[]))


def test_a_missing_reader_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fastexcel", None)
    with pytest.raises(
        MedaiError, match=re.escape("needs the package fastexcel, which is not installed; run: pip install 'medai[ingest]'")
    ):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_unicode_and_any_separator_is_read(tmp_path: Path, encoding: str, separator: str) -> None:
    text = "Datei,Befund\r\nä.png,Erguß\r\n患者.png,无\r\n".replace(",", separator)
    assert _csv(tmp_path, text.encode(encoding)) == {"Datei": ["ä.png", "患者.png"], "Befund": ["Erguß", "无"]}


def test_excel_s_own_line_about_the_separator_is_obeyed(tmp_path: Path) -> None:
    assert _csv(tmp_path, "sep=;\r\nfile;a,b\r\n1;2\r\n") == {"file": ["1"], "a,b": ["2"]}


def test_a_separator_in_quotes_counts_for_nothing(tmp_path: Path) -> None:
    assert _csv(tmp_path, '"age, years";"a, b, c"\n1;"2\n3"\n') == {"age, years": ["1"], "a, b, c": ["2\n3"]}


def test_trailing_separators_and_blank_lines_are_nothing(tmp_path: Path) -> None:
    expected = {"a": ["1", "3"], "b": ["2", None]}
    assert _csv(tmp_path, "a,b,,\n1,2,,\n\n3,,,\n,,,\n\n") == expected
    assert _csv(tmp_path, "a,b\n1,2,,\n3\n,,,\n") == expected
    assert _csv(tmp_path, "\n\na,b\n1,2\n3,\n") == expected


def test_cells_under_no_name_are_refused_with_their_row(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"t.csv row 3 has 3 cells under 2 names; put cells that hold ',' in double quotes"):
        _csv(tmp_path, "file,finding\n1,none\n2,mass, left\n")


def test_a_name_that_comes_twice_cannot_be_mistaken(tmp_path: Path) -> None:
    assert _csv(tmp_path, "f,x,x\n1,2,3\n") == {"f": ["1"], "x (column 2)": ["2"], "x (column 3)": ["3"]}
    assert _csv(tmp_path, "f,x , x\n1,2,2\n") == {"f": ["1"], "x": ["2"]}
    assert _csv(tmp_path, ",f\n0,a\n1,b\n") == {"(column 1)": ["0", "1"], "f": ["a", "b"]}


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"\xff\xfe", b"a,b\n", b"a,b\n,\n"):
        with pytest.raises(MedaiError, match="holds no rows"):
            _csv(tmp_path, content)


def test_parquet_gives_the_same_texts_as_csv(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": [1.0, 2e15, None], "x": [0.5, 1.0, None], "b": [True, None, False], "l": [[1], [2], [3]], " n ": ["a", "b", ""]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").to_dict(as_series=False) == {
        "id": ["1", "2000000000000000", None], "x": ["0.5", "1.0", None], "b": ["true", None, "false"], "n": ["a", "b", ""],
    }  # fmt: skip
