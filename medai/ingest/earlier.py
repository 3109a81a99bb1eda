"""The earlier cohort whose patients keep their split when studies are added."""

from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.key import Keys
from medai.cohort.schema import RECORD
from medai.core.error import MedaiError
from medai.core.progress import say
from medai.source.base import Source

AUTO = "auto"


def earlier_cohort(source: Source, target: Path, keys: Keys, cases: pl.DataFrame, keep: str | None) -> Cohort | None:
    """The cohort to keep the splits of.

    Args:
        source: The data set's definition.
        target: The cohort to be; the others of the data set lie beside it.
        keys: Its names were made with these, or they cannot be compared.
        cases: Of the cohort to be: `case_id`, `patient_id`.
        keep: A folder; ``auto``; or None.

    Raises:
        MedaiError: the named one is no cohort, or was made with another key.
    """
    if keep is None:
        return None
    if keep != AUTO:
        named = Cohort.open(Path(keep))
        if named.meta.get("key_identity") != keys.identity:
            raise MedaiError(f"keep: {keep} was made with another site's key, so that its patients cannot be recognised")
        return named
    records = sorted(target.parent.glob(f"{source.name}-*/{RECORD}"), key=lambda path: path.stat().st_mtime, reverse=True)
    told = ""
    for record in records:
        found = Cohort.open(record.parent)
        if found.name != source.name:
            continue
        if found.meta.get("key_identity") != keys.identity:
            told = told or f"{found.path} was made with another site's key: its patients are not recognised, and are drawn anew"
        elif not _shared(found, cases):
            continue
        elif found.meta.get("split_settings") == dict(source.split):
            say(f"{source.name}: patients of {found.path} keep their split (keep=null draws anew)")
            return found
        else:
            told = told or f"patients of {found.path} are drawn anew, since dataset.split is another (keep={found.path} keeps theirs)"
    if told:
        say(f"{source.name}: {told}")
    return None


def _shared(found: Cohort, cases: pl.DataFrame) -> bool:
    names = found.splits()
    return any(bool(cases[column].drop_nulls().is_in(names[column].drop_nulls().implode()).any()) for column in ("patient_id", "case_id"))


def check_kept(cohort: Cohort, keep: str | None) -> None:
    """Refuse a finished cohort that was split otherwise than is asked for.

    Raises:
        MedaiError: `keep` names another cohort than the one whose splits it kept.
    """
    if keep is None or keep == AUTO or Path(keep).resolve() == cohort.path.resolve():
        return
    kept = cohort.meta["split"].get("kept", {}).get("cohort")
    if kept != Cohort.open(Path(keep)).hash:
        raise MedaiError(f"{cohort.path} was made without keep={keep}; remove it to split it anew")
