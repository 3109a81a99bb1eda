"""Read a table's cells as text: CSV in the ways that hospitals' programs write it, Parquet, and Excel workbooks."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from medai.core.error import MedaiError

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
SEPARATORS = ",;\t"
UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
UTF8_MARK = b"\xef\xbb\xbf"
HEAD = 4096  # bytes in which the encoding and the separator are looked for


def split_sheet(labels: str) -> tuple[str, str | None]:
    """The file and the sheet of a table's name.

    Example:
        >>> split_sheet("readings.xlsx!Round 2")
        ('readings.xlsx', 'Round 2')
    """
    file, mark, sheet = labels.rpartition("!")
    return (file, sheet) if mark and file.lower().endswith(WORKBOOKS) else (labels, None)


def read_table(path: Path, sheet: str | None = None) -> pl.DataFrame:
    """A table with every cell as text; empty rows and unnamed empty columns are left out.

    CSV: comma, semicolon or tab, UTF-8 or UTF-16. A workbook: whole numbers without decimals, whatever stored them; cells with
    an error (#N/A) are empty. A column whose name comes twice with different cells gets the number of its place, so that
    nobody takes one for the other.

    Args:
        path: The file.
        sheet: Of a workbook; None takes the first.

    Raises:
        MedaiError: it cannot be read or holds no rows.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path)
            frame = _named(frame, frame.columns)
        else:
            cells = _read_workbook(path, sheet) if path.suffix.lower() in WORKBOOKS else _read_csv(path)
            cells = cells.filter(~pl.all_horizontal(_is_blank(pl.all())))
            frame = _named(cells[1:], cells.row(0) if len(cells) else ())
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        kind = "an Excel workbook" if path.suffix.lower() in WORKBOOKS else "a CSV, Parquet or Excel file"
        raise MedaiError(f"{path} cannot be read as a table ({str(error).splitlines()[0]}); give {kind}") from None
    if frame.is_empty():
        raise MedaiError(f"{path} holds no rows")
    return frame


def _read_parquet(path: Path) -> pl.DataFrame:
    frame = pl.read_parquet(path)
    flat = [name for name, dtype in frame.schema.items() if not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)]
    frame = frame.select(flat)
    whole = [series.name for series in frame if series.dtype.is_float() and (series.drop_nulls().drop_nans() % 1 == 0).all()]
    return frame.with_columns(pl.col(whole).cast(pl.Int64, strict=False)).select(pl.all().cast(pl.String))


def _read_csv(path: Path) -> pl.DataFrame:
    data = _as_utf8(path.read_bytes())
    told = re.match(rb"sep=(.)\r?\n", data)  # how Excel is told the separator
    data = data[told.end() :] if told else data
    header = re.sub(r'"[^"]*"', "", data[:HEAD].decode("utf-8", errors="replace").partition("\n")[0])
    separator = told[1].decode() if told else max(SEPARATORS, key=header.count)
    options: dict[str, object] = {"has_header": False, "separator": separator, "encoding": "utf8-lossy"}
    if not data.strip():
        return pl.DataFrame()
    try:
        return pl.read_csv(data, infer_schema=False, **options)  # type: ignore[arg-type]
    except pl.exceptions.ComputeError as error:
        if "more fields" not in str(error):
            raise
    return pl.read_csv(_trimmed(data, separator, path), infer_schema=False, **options)  # type: ignore[arg-type]


def _as_utf8(data: bytes) -> bytes:
    """The bytes of a text in UTF-8 without its byte order mark."""
    encoding = UTF16.get(data[:2])
    if encoding is None and b"\0" in data[:HEAD]:
        encoding = "utf-16-le" if data[1:HEAD:2].count(0) > data[:HEAD:2].count(0) else "utf-16-be"
    if encoding:
        data = data.decode(encoding, errors="replace").encode("utf-8")
    return data.removeprefix(UTF8_MARK)


def _trimmed(data: bytes, separator: str, path: Path) -> bytes:
    """The text without the cells beyond the header's, which must be empty.

    Raises:
        MedaiError: one holds something. Its row's cells would stand under the wrong names.
    """
    out = io.StringIO(newline="")
    writer, named = csv.writer(out, delimiter=separator), 0
    for number, row in enumerate(csv.reader(io.StringIO(data.decode("utf-8", errors="replace"), newline=""), delimiter=separator), start=1):
        if not row:
            continue
        named = named or len(row)
        if any(cell.strip() for cell in row[named:]):
            got = f"{path} row {number} has {len(row)} cells under {named} names"
            raise MedaiError(f"{got}; put cells that hold {separator!r} in double quotes")
        writer.writerow(row[:named])
    return out.getvalue().encode()


def _read_workbook(path: Path, sheet: str | None) -> pl.DataFrame:
    try:
        import fastexcel
    except ModuleNotFoundError:
        raise MedaiError(f"reading {path} needs the package fastexcel, which is not installed; run: pip install 'medai[ingest]'") from None
    try:
        book = fastexcel.read_excel(path)
        if sheet is not None and sheet not in book.sheet_names:
            raise MedaiError(f"{path} has no sheet {sheet!r}; its sheets: {', '.join(book.sheet_names)}")
        cells = book.load_sheet(0 if sheet is None else sheet, header_row=None, dtypes="string").to_polars()
    except fastexcel.FastExcelError as error:
        raise ValueError(str(error)) from None
    return pl.DataFrame(cells)


def _is_blank(cells: pl.Expr) -> pl.Expr:
    return cells.str.strip_chars().fill_null("") == ""


def _named(body: pl.DataFrame, header: Sequence[str | None]) -> pl.DataFrame:
    """The rows below a header under clean names; a name that comes twice is told apart by the place of its column."""
    names = [(name or "").strip().lstrip("\ufeff") for name in header]
    columns: dict[str, pl.Series] = {}
    for place, (name, series) in enumerate(zip(names, body, strict=True), start=1):
        if name == "" and body.select(_is_blank(pl.col(series.name)).all()).item():
            continue
        twins = (column for other, column in zip(names, body, strict=True) if other == name) if names.count(name) > 1 else ()
        apart = name == "" or any(not column.equals(series) for column in twins)
        label = f"{name} (column {place})".strip() if apart else name
        columns.setdefault(label, series.alias(label))
    return pl.DataFrame(list(columns.values()))
