"""Which files of a source a cohort has refused: its keyed names found again, where the site's key is."""

import os
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.key import Keys
from medai.cohort.schema import INSTANCES, QUARANTINE
from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.source.archive import INSIDE, list_items


def refused_files(cohort: Cohort, source: Path) -> tuple[pl.DataFrame, int]:
    """The refused files of a cohort by their own names.

    Args:
        cohort: That refused them.
        source: The folder, archive or DICOMDIR that it was made from.

    Returns:
        `path` (relative to the source), `code` and `reason`, ordered by path; and how many refused names are none of its files,
        since they are of rows of the label table, of whole series, or of files that are gone.

    Raises:
        MedaiError: the site's key is absent or another one, or the source does not exist.
    """
    keys = Keys.of(bool(cohort.meta.get("public")), create=False)
    if keys.identity != cohort.meta.get("key_identity"):
        raise MedaiError(f"{cohort.path} was made with another site's key; only where that one is, its files can be named")
    items = list_items(str(source), key="source")["item"]
    archives = items.filter(items.str.contains(INSIDE, literal=True)).str.split(INSIDE).list.first()
    paths = pl.concat([items, archives]).unique().sort().alias("path")
    listed = paths.to_frame().with_columns(keys.names("item", paths).alias("source_key"))
    quarantine = cohort.quarantine().unique("source_key", keep="first", maintain_order=True)
    codes = _codes(cohort, quarantine)
    found = listed.join(codes, on="source_key", how="inner", maintain_order="left")
    unknown = quarantine.join(listed, on="source_key", how="anti").height
    return found.select("path", "code", "reason"), unknown


def _codes(cohort: Cohort, quarantine: pl.DataFrame) -> pl.DataFrame:
    """`source_key`, `code` and `reason` of files: the quarantine's own, and those of files whose image or series it names."""
    own = quarantine.select("source_key", "code", reason="message")
    if not (cohort.path / INSTANCES).is_file():
        return own
    reasons = own.select("code", "reason").unique("code", keep="first", maintain_order=True)
    files = cohort.instances().filter(pl.col("code").is_not_null()).select("source_key", "code")
    files = files.join(own, on="source_key", how="anti").join(reasons, on="code", how="left")
    return pl.concat([own, files])


def write_refused(frame: pl.DataFrame, path: Path) -> None:
    """Write a table that names files, readable by its owner alone (mode 0600), since a file's name may name a patient.

    Raises:
        MedaiError: the place lies in a cohort, or cannot be written.
    """
    for folder in path.resolve().parents:
        if (folder / QUARANTINE).is_file():
            raise MedaiError(f"{path} lies in the cohort {folder}, which holds no names of files; name a place outside")
    try:
        with atomic_file(path) as temporary, os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            frame.write_csv(stream)
    except OSError as error:
        raise MedaiError(f"{path} cannot be written ({error.strerror}); name another place") from None
