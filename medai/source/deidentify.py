"""De-identify the files of a folder, an archive or a DICOMDIR, in parallel."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medai.cohort.key import Keys
from medai.core.error import MedaiError, Refusal
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.file import deidentify_file, write_file
from medai.dicom.deidentify.profile import Profile
from medai.source.archive import item_folder, list_items, open_item
from medai.source.instances import scan_instances

FILES_A_TASK = 64
FEW_FILES = 256  # so many are written sooner than processes have started


@dataclass(frozen=True)
class _Context:
    folder: Path
    target: Path
    keys: Keys
    profile: Profile
    burned_in: BurnedIn


def deidentify(
    source: Path, target: Path, keys: Keys, profile: Profile, burned_in: BurnedIn, workers: int
) -> tuple[int, int, dict[str, int]]:
    """Write de-identified copies; what is there already is written again, to the same bytes.

    Args:
        source: A folder, a zip archive or a DICOMDIR.
        target: A folder outside the source.
        keys: The site's key.
        profile: What is configurable of the profile.
        burned_in: The site's policy on text in the pixels.
        workers: Processes.

    Returns:
        Files found and written, and the number refused by reason code.

    Raises:
        MedaiError: nothing is there, or one of both lies in the other.
    """
    if not Path(source).exists():
        raise MedaiError(f"{source} does not exist; give a folder, a zip archive or a DICOMDIR")
    folder = item_folder(str(source)).resolve()
    place, copies = Path(source).resolve(), Path(target).resolve()
    if copies.is_relative_to(place) or place.is_relative_to(copies):
        raise MedaiError(f"{source} and {target} lie one in the other; name a target outside")
    items = list_items(str(source))
    scanned = scan_instances(items, folder, None, keys, workers)
    instance = pl.struct("study_uid", "series_uid", "sop_instance_uid")
    code = pl.when(pl.col("code").is_null() & ~instance.is_first_distinct()).then(pl.lit("duplicate-instance")).otherwise("code")
    scanned = scanned.with_columns(code=code)
    unread = scanned["code"].drop_nulls().to_list()
    names = scanned.filter(pl.col("code").is_null())["item"]
    tasks = [names[start : start + FILES_A_TASK].to_list() for start in range(0, len(names), FILES_A_TASK)]
    context = _Context(folder, target, keys, profile, burned_in)
    codes: Counter[str] = Counter(unread)
    with progress("De-identify", len(names), "files") as bar:
        for part in run_tasks(_deidentify_some, context, tasks, workers if len(names) > FEW_FILES else 0):
            codes.update(part)
            bar.advance(sum(part.values()))
    written = codes.pop("", 0)
    return len(items), written, dict(codes.most_common())


def _deidentify_some(context: _Context, items: list[str]) -> Counter[str]:
    """How often each code; the empty one for files that were written."""
    codes: Counter[str] = Counter()
    for item in items:
        try:
            data = open_item(context.folder, item)
            write_file(context.target, deidentify_file(data, context.keys, context.profile, context.burned_in))
            codes[""] += 1
        except Refusal as refusal:
            codes[refusal.code] += 1
    return codes
