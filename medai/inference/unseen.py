"""Whether a model has seen the images that it is to be scored on."""

from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.find import find_cohort
from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.core.progress import say
from medai.inference.candidate import Candidate
from medai.inference.settings import EvaluateSettings

SEEN = "seen-images"  # what allow= names to score a model on images of its own development
RECORDS = ("package.json", "checkpoint.json")  # of medai, beside weights or a graph that are opened by a contract
Origin = tuple[str, str, str | None]


def check_unseen(settings: EvaluateSettings, candidate: Candidate, cohort: Cohort, cases: pl.DataFrame, who: str = "model") -> list[str]:
    """Refuse to score a model on images that it was developed on, or a reference.

    Args:
        settings: Its `cohorts`, `split` and `allow`.
        candidate: The model.
        cohort: Of the cases.
        cases: With `pixel_hash` and `patient_id`; labels are not looked at.
        who: The model's part, for the sentences: ``"model"`` or ``"reference"``.

    Returns:
        What the report has to say of it.

    Raises:
        MedaiError: images of its development are among them, and `allow` does not say so.
    """
    origin, seen_split = _origin(candidate)
    if not origin[0]:
        return [f"The {who} was made elsewhere: whether it has seen some of these images is not known to this program."]
    if origin[0] == cohort.hash:
        return _check_split(settings, candidate, seen_split, who)
    try:
        own = find_cohort(*origin, Path(settings.cohorts))
    except MedaiError:
        return [f"The cohort of the {who}'s development is not here: whether it has seen some of these images was not checked."]
    if own.meta.get("public") != cohort.meta.get("public") or own.meta.get("key_identity") != cohort.meta.get("key_identity"):
        unchecked = f"Whether the {who} has seen some of these images was not checked: the two cohorts were keyed in different ways."
        say(unchecked)
        return [unchecked]
    development = own.cases().filter(pl.col("partition") == "development")
    seen = cases["pixel_hash"].is_in(development["pixel_hash"].implode()).sum()
    if seen and SEEN not in settings.allow:
        what = f"{seen} of the {len(cases)} images are in the development set of {candidate.path}, so the figures would be too good"
        raise MedaiError(f"{what}; name other data, or override with allow=[{SEEN}]")
    told = [f"{seen} of these images were in the development set of the {who}: the figures are too good."] if seen else []
    return told + _patients(cohort, cases, development, who)


def _origin(candidate: Candidate) -> tuple[Origin, str]:
    """Of which cohort a model was developed, and what it may have seen of it; for a stranger's by the record of medai beside its file."""
    if candidate.cohort[0]:
        return candidate.cohort, candidate.seen
    folder = candidate.path if candidate.path.is_dir() else candidate.path.parent
    for name in RECORDS:
        record = read_json(folder / name) if (folder / name).is_file() else None
        if isinstance(record, dict):
            found, seen = _recorded(record)
            if found[0]:
                return found, seen
    return ("", "", None), "train"


def _recorded(record: dict[str, object]) -> tuple[Origin, str]:
    cohort, hashes, data = (part if isinstance(part := record.get(key), dict) else {} for key in ("cohort", "hashes", "data"))
    if hashes:
        return (str(hashes.get("cohort", "")), str(data.get("name", "")), None), str(data.get("seen", "train"))
    return (str(cohort.get("hash", "")), str(cohort.get("name", "")), cohort.get("path")), "train"


def _patients(cohort: Cohort, cases: pl.DataFrame, development: pl.DataFrame, who: str) -> list[str]:
    """Patients of the development, by the site's key; the literal names of public data sets may be those of other people."""
    if cohort.meta.get("public"):
        return []
    known = development["patient_id"].drop_nulls()
    shared = cases["patient_id"].is_in(known.implode()).sum()
    return [f"{shared} of these images are of patients in the development set of the {who}: the figures may be too good."] if shared else []


def _check_split(settings: EvaluateSettings, candidate: Candidate, seen: str, who: str) -> list[str]:
    """On a model's own cohort the ingest kept the splits apart; but a cross-validation trains on validation cases, too."""
    if settings.split != "validation" or seen == "train":
        return []
    if SEEN not in settings.allow:
        what = f"{candidate.path} comes from a cross-validation, which trained on validation cases too, so the figures would be too good"
        raise MedaiError(f"{what}; those on held-out cases are in the run's validation/, or override with allow=[{SEEN}]")
    return [f"The {who} was trained on validation cases too, in a cross-validation: the figures are too good."]
