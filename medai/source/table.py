"""Label tables: checked, and brought to the columns of a scan's annotations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from medai.cohort.split import SOURCE_SPLITS
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.source.cells import read_table as read_table
from medai.source.cells import split_sheet
from medai.source.readers import ReaderSettings, check_fit, combine
from medai.source.target import Target, as_text

OLDEST_YEARS = 90.0  # ages over 89 are one group (45 CFR 164.514 (b)(2)(i)(C))
FIRST_ROW = 2  # of the values, as a spreadsheet counts: the header is row 1
KEY_ROLES = ("file", "patient", "study", "accession", "series", "instance")
ROLES = (*KEY_ROLES, "site", "sex", "age", "split", "reader")
SCIENTIFIC = r"^\d(?:[.,]\d+)?[eE]\+\d+$"  # what a spreadsheet makes of a long number
REPLACED = "\ufffd"  # in the place of bytes that are no text
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "o": "O", "other": "O"}


def find_table(labels: str | None, folder: Path) -> Path | None:
    """The label table of a definition: a path, or a name inside the data set's folder. Of a workbook without the sheet's name.

    Raises:
        MedaiError: it is named and absent.
    """
    if labels is None or labels == "":
        return None
    labels = split_sheet(labels)[0]
    here, inside = Path(labels), folder / labels
    if here.is_file() and inside.is_file() and not here.samefile(inside):
        raise MedaiError(f"dataset.labels {labels} is both {here.resolve()} and {inside.resolve()}; give the whole path of the right one")
    for candidate in (here, inside):
        if candidate.is_file():
            return candidate
    raise MedaiError(f"dataset.labels {labels} does not exist, neither here nor in {folder}")


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
    frame: pl.DataFrame, roles: Mapping[str, str], targets: Sequence[Target], key: str, path: Path, readers: ReaderSettings | None = None
) -> tuple[pl.DataFrame, tuple[Label, ...]]:
    """The table in the columns of `Scan.annotations`, a row a key.

    Several readers stand in several rows a key (the role `reader` tells them apart) or in several columns (`Target.readers`).
    Their votes stay in `label.<name>.votes` (a list of class indices, -1 = uncertain), from which the agreement is computed
    where the labels may be looked at: see `medai.cohort.agreement`.

    Args:
        frame: As `read_table` gives it.
        roles: See `role_columns`.
        targets: The labels to make.
        key: The column by which the table is joined.
        path: The table's, for errors.
        readers: The rule for targets that have none of their own.

    Raises:
        MedaiError: a column is absent, a value lies outside its classes, a key comes twice, or a split is none.
    """
    for target in targets:
        for column in target.sources:
            need_column(frame, column, f"target {target.name!r}", path)
    used = {
        key,
        *(roles[role] for role in ("patient", "reader") if role in roles),
        *(name for target in targets for name in target.sources),
    }
    _check_encoding(frame.select(sorted(used)), path)
    labels = tuple(target.label(pl.concat([frame[column] for column in target.sources])) for target in targets)
    settings = readers or ReaderSettings()
    names = _names(frame[key], key, path)
    votes = [_votes(target, frame, label, str(path)) for target, label in zip(targets, labels, strict=True)]
    table = pl.DataFrame([names, *votes, *_person(frame, roles, path)])
    if "reader" in roles:
        table = _gather(table, as_text(frame[roles["reader"]], empty=("",)).fill_null(""), key, path)
    else:
        table = _one_row_a_key(table, ["key"], key, path, "; give one row for each, name the column of the reader, or join by another key")
    for target, label in zip(targets, labels, strict=True):
        table = _decide(table, target, label, settings)
    person = [name for name in table.columns if name != "key" and not name.startswith("label.")]
    return table.select("key", pl.col("^label\\..*$"), *person), labels


def _names(raw: pl.Series, key: str, path: Path) -> pl.Series:
    """The keys of the table's rows, checked."""
    names = as_text(raw, empty=("",)).alias("key")
    nameless = names.is_null().arg_true()
    if len(nameless):
        raise MedaiError(f"{path} row {nameless[0] + FIRST_ROW} has an empty {key!r}; every row needs one")
    rounded = names.str.contains(SCIENTIFIC).arg_true()
    if len(rounded):
        got = f"{path} row {rounded[0] + FIRST_ROW}: {key!r} is {names[rounded[0]]!r}, which a spreadsheet has made of a longer number"
        raise MedaiError(f"{got}; format the column as text or as a number without decimals, and write the table again")
    return names


def _check_encoding(frame: pl.DataFrame, path: Path) -> None:
    for series in frame:
        bad = series.str.contains(REPLACED, literal=True).fill_null(False).arg_true()
        if len(bad):
            raise MedaiError(
                f"{path} row {bad[0] + FIRST_ROW}: {series.name!r} is not encoded as UTF-8; save the table as UTF-8 (CSV UTF-8)"
            )


def _votes(target: Target, frame: pl.DataFrame, label: Label, where: str) -> pl.Series:
    """One vote a row, or a list of them where the readers have columns of their own."""
    votes = target.votes(frame, label, where, FIRST_ROW)
    if len(votes) == 1:
        return votes[0].alias(f"label.{label.name}")
    together = pl.DataFrame(votes).select(pl.concat_list(pl.all()).list.drop_nulls())[:, 0]
    return together.alias(f"label.{label.name}.votes")


def _one_row_a_key(table: pl.DataFrame, by: list[str], key: str, path: Path, advice: str) -> pl.DataFrame:
    table = table.unique(maintain_order=True)
    twice = table.filter(table.select(by).is_duplicated())
    if len(twice):
        reader = f" and the reader {twice['reader'][0]!r}" if "reader" in by else ""
        raise MedaiError(f"{path} has several rows that differ for {key} = {twice['key'][0]!r}{reader}{advice}")
    return table


def _gather(table: pl.DataFrame, reader: pl.Series, key: str, path: Path) -> pl.DataFrame:
    """A row a key, with the votes of its readers in the order of the table."""
    table = table.with_columns(reader.alias("reader"))
    table = _one_row_a_key(table, ["key", "reader"], key, path, "; give one row for each reader")
    columns = [name for name in table.columns if name not in ("key", "reader")]
    voted = [name for name in columns if name.startswith("label.")]
    person = [name for name in columns if name not in voted]
    gathered = table.group_by("key", maintain_order=True).agg(
        *(pl.col(name).explode().drop_nulls().alias(f"{name.removesuffix('.votes')}.votes") for name in voted),
        *(pl.col(name).drop_nulls().first() for name in person),
        *(pl.col(name).drop_nulls().n_unique().alias(f"{name}.several") for name in person),
    )
    for name in person:
        apart = gathered.filter(pl.col(f"{name}.several") > 1)
        if len(apart):
            raise MedaiError(f"{path}: the rows of {key} = {apart['key'][0]!r} differ in {name}; only the readers' labels may differ")
    return gathered.drop(f"{name}.several" for name in person)


def _decide(table: pl.DataFrame, target: Target, label: Label, settings: ReaderSettings) -> pl.DataFrame:
    """The label of every key: of one vote, or by the rule of several."""
    name = f"label.{label.name}"
    if f"{name}.votes" in table.columns:
        rule = target.rule or settings.rule
        check_fit(rule, label)
        index, uncertain = combine(table[f"{name}.votes"].cast(pl.List(pl.Int16)), rule)
    else:
        uncertain = (table[name] < 0).fill_null(False)
        index = table[name].set(uncertain, None)
    return table.with_columns(index.alias(name), uncertain.alias(f"{name}.uncertain"))


def _person(frame: pl.DataFrame, roles: Mapping[str, str], path: Path) -> list[pl.Series]:
    def texts(role: str) -> pl.Series:
        return as_text(frame[roles[role]]) if role in roles else pl.Series(role, [None] * len(frame), dtype=pl.String)

    split = texts("split").str.to_lowercase()
    known = split.replace_strict(list(SOURCE_SPLITS), list(SOURCE_SPLITS.values()), default=None, return_dtype=pl.String)
    bad = (split.is_not_null() & known.is_null()).arg_true()
    if len(bad):
        raise MedaiError(f"{path} row {bad[0] + FIRST_ROW}: the split is {split[bad[0]]!r}; allowed: train, validation, test")
    sex = texts("sex").str.to_lowercase().replace_strict(list(SEXES), list(SEXES.values()), default=None, return_dtype=pl.String)
    years = texts("age").str.extract(r"^0*(\d+(?:\.\d+)?)\s*[Yy]?$").cast(pl.Float64).clip(0, OLDEST_YEARS)
    columns = {"patient": texts("patient"), "site": texts("site"), "sex": sex, "age_years": years, "split": known}
    return [series.alias(name) for name, series in columns.items()]


def match_files(annotations: pl.DataFrame, items: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Bring the keys of a table that names files to the items' names: the relative path, else the file name, else its stem.

    Returns:
        The annotations of items that exist (`key` = item), and the keys that no item has.

    Raises:
        MedaiError: a name fits several items, or none because its leading zeros are gone.
    """
    rows = annotations.with_columns(file_keys(annotations["key"]))
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
    rest = names.join(found, on="item", how="anti", maintain_order="left")
    check_zeros(rows["key"], rest["stem"], "file")
    return found.drop("key").rename({"item": "key"}).select(annotations.columns), rows["key"]


def file_keys(keys: pl.Series) -> pl.Series:
    """The keys of a table that names files as relative paths."""
    return keys.str.replace_all("\\", "/", literal=True).str.replace(r"^\./", "")


def may_mean(names: pl.Series, keys: pl.Series) -> pl.Series:
    """Which names are a key, or would be one but for leading zeros: neither a join nor `check_zeros` sees any other."""
    bare = keys.drop_nulls().str.strip_chars_start("0").unique()
    number = names.str.contains(r"^\d+$") & names.str.strip_chars_start("0").is_in(bare.implode())
    return (names.is_in(keys.implode()) | number).fill_null(False)


def check_zeros(keys: pl.Series, names: pl.Series, what: str) -> None:
    """Refuse a table whose numbers have lost their leading zeros, as spreadsheets do it: its rows would match nothing.

    Args:
        keys: The table's keys that nothing has.
        names: What the files hold and no key names; nulls are passed over.
        what: What both name, for the error: ``"patient"``.

    Raises:
        MedaiError: some are equal but for leading zeros. The values themselves are not told.
    """

    def bare(texts: pl.Series) -> pl.DataFrame:
        numbers = texts.drop_nulls().unique().alias("text").to_frame().filter(pl.col("text").str.contains(r"^\d+$"))
        return numbers.with_columns(bare=pl.col("text").str.strip_chars_start("0"), digits=pl.col("text").str.len_chars())

    pairs = bare(keys).join(bare(names), on="bare", how="inner")
    same = pairs.filter(pl.col("text") != pl.col("text_right")).sort("digits", "digits_right")
    if len(same):
        count, (short, long) = same["text"].n_unique(), same.select("digits", "digits_right").row(0)
        got = f"{count:,} rows of the label table name no {what} as they stand, but would with other leading zeros"
        example = f"e.g. digits in the table: {short}, in the {what}'s own number: {long}"
        raise MedaiError(f"{got} ({example}): keep the column as text in the spreadsheet, or remove these rows")
