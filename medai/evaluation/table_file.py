"""A table as someone's file: read, its odd habits undone where that is safe, and told in a line where it is not."""

import csv
import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from medai.core.error import MedaiError

KEYS = ("case_id", "patient_id")
NULLS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # Excel's new and old formats
GZIP = b"\x1f\x8b"  # RFC 1952 2.3.1
WIDE = (b"\xff\xfe", b"\xfe\xff")  # byte order marks of UTF-16
UTF8 = "save it as 'CSV UTF-8'"
LIKE_CASE = frozenset({
    "case", "caseid", "id", "image", "imageid", "imagename", "file", "fileid", "filename", "path", "study", "studyid",
    "studyuid", "studyinstanceuid", "series", "seriesinstanceuid", "sopinstanceuid", "accession", "accessionnumber", "exam",
    "examid", "病例号", "检查号", "影像号", "编号",
})  # fmt: skip
LIKE_TRUTH = frozenset({
    "label", "labels", "truth", "target", "y", "ytrue", "gt", "groundtruth", "reference", "outcome", "diagnosis", "class", "标签",
    "真值", "金标准", "诊断",
})  # fmt: skip
LIKE_SCORE = frozenset({
    "score", "scores", "prob", "probability", "p", "pred", "prediction", "yscore", "yprob", "ypred", "output", "confidence",
    "risk", "malignancy", "分数", "得分", "概率",
})  # fmt: skip
NUMERIC = re.compile(r"(probability|logit)\..+|age_years")


def read_table(path: Path, what: str = "a table of predictions") -> pl.DataFrame:
    """Read CSV or Parquet (told apart by content) with keys as text, and spaces around names and values taken off.

    Args:
        path: The file.
        what: It should be, for the messages.

    Raises:
        MedaiError: it is something else, has another separator or encoding, or names a column twice; the message says what to do.
    """
    if path.is_dir():
        raise MedaiError(f"{path} is a folder; give the file in it that holds {what}")
    if not path.is_file():
        raise MedaiError(f"{path} does not exist")
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:2] in WIDE:
        raise MedaiError(f"{path} is UTF-16 text; {UTF8}")
    if head[:2] == GZIP:
        raise MedaiError(f"{path} is compressed with gzip; unpack it first: gunzip -k {path}")
    if head in WORKBOOKS:
        raise MedaiError(f"{path} is a workbook or an archive; {UTF8}, or as Parquet")
    try:
        frame = pl.read_parquet(path) if head == b"PAR1" else _read_csv(path)
    except pl.exceptions.NoDataError:
        raise MedaiError(f"{path} is empty; expected {what}") from None
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        coded = f": it is not UTF-8; {UTF8}" if "utf-8" in first.lower() or isinstance(error, UnicodeDecodeError) else f" ({first})"
        raise MedaiError(f"{path} is neither a CSV nor a Parquet {what.removeprefix('a ')}{coded}") from None
    return _tidy(frame)


def hint_of_case(columns: Sequence[str]) -> str:
    """Which column may be the case_id, as the end of a message, or nothing."""
    found = next((name for name in columns if _plain(name) in LIKE_CASE), None)
    return f"; rename {found!r} to 'case_id'" if found else ""


def hint_of_columns(columns: Sequence[str]) -> str:
    """What to rename so that a label is found, as the end of a message, or nothing."""
    for name in columns:
        matched = re.fullmatch(r"(target|probability)[\s._:-]+(.+)", name, re.IGNORECASE)
        if matched and not name.startswith(("target.", "probability.")):
            return f"; rename {name!r} to '{matched[1].lower()}.{matched[2]}'"
    truth = next((name for name in columns if _plain(name) in LIKE_TRUTH), None)
    score = next((name for name in columns if _plain(name) in LIKE_SCORE), None)
    renames = [f"{name!r} to '{kind}.<label>'" for name, kind in ((truth, "target"), (score, "probability")) if name]
    return f"; rename {' and '.join(renames)}, with the label's name in place of <label>" if renames else ""


def hint_of_name(name: str, columns: Sequence[str]) -> str:
    """Which column has nearly the name of one that is missing, as the end of a message, or nothing."""
    kind, _, of_label = name.partition(".")
    others = {column.partition(".")[2]: column for column in columns if column.startswith(f"{kind}.")}
    same = [other for other in others if other.lower() == of_label.lower()]
    near = same or difflib.get_close_matches(of_label, others, n=1, cutoff=0.8)
    return f"; did you mean {others[near[0]]!r}? Rename it to {name!r}" if near and near[0] != of_label else ""


def hint_of_number(text: str) -> str:
    """Why a text is no number from 0 to 1, as a sentence's end, or nothing."""
    if re.fullmatch(r"\s*[-+]?\d*,\d+\s*", text):
        return "write decimals with a point"
    return "write 0.93 instead of 93%" if text.strip().endswith("%") else ""


def _read_csv(path: Path) -> pl.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        line = stream.readline(1 << 20)
    if "," not in line:
        for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if sign in line:
                advice = "save it with commas, and decimals with a point"
                raise MedaiError(f"{path} has its columns separated by {name}; {advice}")
    names = [name.strip() for name in next(csv.reader([line]), [])]
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise MedaiError(f"{path} has the column {twice[0]!r} {Counter(names)[twice[0]]} times; expected each once")
    text = {name: pl.String for name in next(csv.reader([line]), []) if name.strip() in KEYS}  # keys such as 007 keep their zeros
    return pl.read_csv(path, schema_overrides=text, infer_schema_length=None, null_values=list(NULLS))


def _tidy(frame: pl.DataFrame) -> pl.DataFrame:
    """Names and texts without spaces around; probabilities and ages that were text for their spaces alone are numbers."""
    names = {name: name.strip().lstrip("\ufeff") for name in frame.columns}
    if len(set(names.values())) == len(names):
        frame = frame.rename(names)
    stripped = frame.with_columns(pl.col(pl.String).str.strip_chars())
    stripped = stripped.with_columns(pl.when(~pl.col(pl.String).is_in(NULLS)).then(pl.col(pl.String)).name.keep())
    numbers = []
    for name in stripped.columns:
        if stripped[name].dtype != pl.String or not NUMERIC.fullmatch(name):
            continue
        number = stripped[name].cast(pl.Float64, strict=False)
        if number.null_count() == stripped[name].null_count() and number.null_count() < len(number):
            numbers.append(number)
    return stripped.with_columns(numbers)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
