"""Label tables: read as text, checked, and brought to the columns of a scan's annotations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from medai.cohort.split import SOURCE_SPLITS
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.source.target import Target, as_text

OLDEST_YEARS = 90.0  # ages over 89 are one group (45 CFR 164.514 (b)(2)(i)(C))
ROLES = ("file", "patient", "study", "series", "instance", "site", "sex", "age", "split")
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "o": "O", "other": "O"}


def find_table(labels: str | None, folder: Path) -> Path | None:
    """The label table of a definition: a path, or a name inside the data set's folder.

    Raises:
        MedaiError: it is named and absent.
    """
    if labels is None or labels == "":
        return None
    here, inside = Path(labels), folder / labels
    if here.is_file() and inside.is_file() and not here.samefile(inside):
        raise MedaiError(f"dataset.labels {labels} is both {here.resolve()} and {inside.resolve()}; give the whole path of the right one")
    for candidate in (here, inside):
        if candidate.is_file():
            return candidate
    raise MedaiError(f"dataset.labels {labels} does not exist, neither here nor in {folder}")


def read_table(path: Path) -> pl.DataFrame:
    """A CSV (comma, semicolon or tab) or Parquet file, every cell as text.

    Raises:
        MedaiError: it cannot be read or holds no rows.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path).select(pl.all().cast(pl.String))
        else:
            with open(path, encoding="utf-8-sig", errors="replace") as stream:
                head = stream.readline()
            separator = max(",;\t", key=head.count)
            frame = pl.read_csv(path, infer_schema=False, separator=separator, encoding="utf8-lossy")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise MedaiError(f"{path} cannot be read as a table ({str(error).splitlines()[0]}); give a CSV or Parquet file") from None
    if frame.is_empty():
        raise MedaiError(f"{path} holds no rows")
    return frame.rename({name: name.strip().lstrip("\ufeff") for name in frame.columns})


def role_columns(frame: pl.DataFrame, columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Which column of the table plays which role: as declared, else the column of the role's own name where there is one.

    Raises:
        MedaiError: an unknown role, or a declared column that is not there.
    """
    unknown = sorted(set(columns) - set(ROLES))
    if unknown:
        raise MedaiError(f"dataset.columns has the unknown key {unknown[0]!r}; allowed: {', '.join(ROLES)}")
    for role, column in columns.items():
        need_column(frame, column, f"dataset.columns.{role}", path)
    return {role: role for role in ROLES if role in frame.columns} | dict(columns)


def need_column(frame: pl.DataFrame, column: str, who: str, path: Path) -> None:
    """Refuse a column that is not there, and list those that are."""
    if column not in frame.columns:
        raise MedaiError(f"{path} has no column {column!r} ({who}); its columns: {', '.join(frame.columns)}")


def annotate(
    frame: pl.DataFrame, roles: Mapping[str, str], targets: Sequence[Target], key: str, path: Path
) -> tuple[pl.DataFrame, tuple[Label, ...]]:
    """The table in the columns of `Scan.annotations`, a row a key.

    Raises:
        MedaiError: a column is absent, a value lies outside its classes, a key comes twice, or a split is none.
    """
    for target in targets:
        need_column(frame, target.column, f"target {target.name!r}", path)
    labels = tuple(target.label(frame[target.column]) for target in targets)
    pairs = zip(targets, labels, strict=True)
    values = [column for target, label in pairs for column in target.columns(frame[target.column], label, str(path))]
    table = pl.DataFrame([as_text(frame[key], empty=("",)).alias("key"), *values, *_person(frame, roles, path)])
    nameless = table["key"].is_null().arg_true()
    if len(nameless):
        raise MedaiError(f"{path} row {nameless[0] + 1} has an empty {key!r}; every row needs one")
    table = table.unique(maintain_order=True)
    twice = table.filter(table["key"].is_duplicated())
    if len(twice):
        got = f"{path} has several rows that differ for {key} = {twice['key'][0]!r}"
        raise MedaiError(f"{got}; give one row for each, or join by another key")
    return table, labels


def _person(frame: pl.DataFrame, roles: Mapping[str, str], path: Path) -> list[pl.Series]:
    def texts(role: str) -> pl.Series:
        return as_text(frame[roles[role]]) if role in roles else pl.Series(role, [None] * len(frame), dtype=pl.String)

    split = texts("split").str.to_lowercase()
    known = split.replace_strict(list(SOURCE_SPLITS), list(SOURCE_SPLITS.values()), default=None, return_dtype=pl.String)
    bad = (split.is_not_null() & known.is_null()).arg_true()
    if len(bad):
        raise MedaiError(f"{path} row {bad[0] + 1}: the split is {split[bad[0]]!r}; allowed: train, validation, test")
    sex = texts("sex").str.to_lowercase().replace_strict(list(SEXES), list(SEXES.values()), default=None, return_dtype=pl.String)
    years = texts("age").str.extract(r"^0*(\d+(?:\.\d+)?)\s*[Yy]?$").cast(pl.Float64).clip(0, OLDEST_YEARS)
    columns = {"patient": texts("patient"), "site": texts("site"), "sex": sex, "age_years": years, "split": known}
    return [series.alias(name) for name, series in columns.items()]


def match_files(annotations: pl.DataFrame, items: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Bring the keys of a table that names files to the items' names: the relative path, else the file name, else its stem.

    Returns:
        The annotations of items that exist (`key` = item), and the keys that no item has.

    Raises:
        MedaiError: a name fits several items.
    """
    rows = annotations.with_columns(pl.col("key").str.replace_all("\\", "/", literal=True).str.replace(r"^\./", ""))
    names = items.alias("item").to_frame().with_columns(
        path=pl.col("item"), name=pl.col("item").str.extract(r"([^/]*)$"), stem=pl.col("item").str.extract(r"([^/]*?)(?:\.[^./]*)?$")
    )  # fmt: skip
    matched = []
    for how in ("path", "name", "stem"):
        hit = rows.join(names.select(how, "item"), left_on="key", right_on=how, how="inner", maintain_order="left")
        doubled = hit.filter(hit["key"].is_duplicated())
        if len(doubled):
            both = ", ".join(doubled.filter(pl.col("key") == doubled["key"][0])["item"].head(2))
            got = f"the label table names the file {doubled['key'][0]!r}, which fits several ({both})"
            raise MedaiError(f"{got}; give paths relative to dataset.path")
        matched.append(hit)
        rows = rows.join(hit, on="key", how="anti", maintain_order="left")
    found = pl.concat(matched)
    twice = found.filter(found["item"].is_duplicated())
    if len(twice):
        got = f"the label table names the file {twice['item'][0]!r} in several rows"
        raise MedaiError(f"{got}; give one row for each file")
    return found.drop("key").rename({"item": "key"}).select(annotations.columns), rows["key"]
