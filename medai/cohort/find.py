"""Find a cohort by its content hash."""

from pathlib import Path

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError


def find_cohort(content_hash: str, name: str, recorded: str | None, cohorts: Path) -> Cohort:
    """The cohort that a model was made from.

    Args:
        content_hash: Of the cohort.
        name: For the error.
        recorded: Where it lay then; it may have moved.
        cohorts: Folder of the cohorts, or the cohort itself; it comes first, since somebody has named it.

    Raises:
        MedaiError: there is none with this hash.
    """
    for path in [cohorts, *sorted(cohorts.glob("*")), *([Path(recorded)] if recorded else [])]:
        try:
            cohort = Cohort.open(path)
        except (MedaiError, OSError):  # no cohort, a damaged one, or one that may not be read: another may be the right one
            continue
        if cohort.hash == content_hash:
            return cohort
    raise MedaiError(
        f"the cohort {name!r} ({content_hash[:16]}) is not in {cohorts}; give its folder with cohorts=…, or data with dataset=…"
    )
