"""De-identify the files of a folder, an archive or a DICOMDIR, in parallel."""

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import polars as pl

from medai.cohort.key import Keys
from medai.core.error import MedaiError, Refusal
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.file import deidentify_file, write_file
from medai.dicom.deidentify.profile import Profile
from medai.dicom.read import read_frames
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
    """Write de-identified copies and count, see `deidentify_files`.

    Returns:
        Files found and written, and the number refused by reason code.
    """
    found = deidentify_files(source, target, keys, profile, burned_in, workers)
    codes = Counter(found["code"].drop_nulls().to_list())
    return len(found), found["code"].null_count(), dict(codes.most_common())


def deidentify_files(source: Path, target: Path, keys: Keys, profile: Profile, burned_in: BurnedIn, workers: int) -> pl.DataFrame:
    """Write de-identified copies; what is there already is written again, to the same bytes.

    Of files of one SOP instance with the same pixels the first is written; with other pixels none is, since nobody can tell
    which is right.

    Args:
        source: A folder, a zip archive or a DICOMDIR.
        target: A folder outside the source.
        keys: The site's key.
        profile: What is configurable of the profile.
        burned_in: The site's policy on text in the pixels.
        workers: Processes.

    Returns:
        A row a file that was found: `item` (its name in the source) and `code` (why it was not written; null: it was).

    Raises:
        MedaiError: nothing is there, or one of both lies in the other.
    """
    if not Path(source).exists():
        raise MedaiError(f"{source} does not exist; give a folder, a zip archive or a DICOMDIR")
    folder = item_folder(str(source)).resolve()
    place, copies = Path(source).resolve(), Path(target).resolve()
    if copies.is_relative_to(place) or place.is_relative_to(copies):
        raise MedaiError(f"{source} and {target} lie one in the other; name a target outside")
    scanned = scan_instances(list_items(str(source), key="source"), folder, None, keys, workers)
    found = _repeats(scanned, folder).select("item", "code")
    names = found.filter(pl.col("code").is_null())["item"]
    tasks = [names[start : start + FILES_A_TASK].to_list() for start in range(0, len(names), FILES_A_TASK)]
    context = _Context(folder, target, keys, profile, burned_in)
    codes: list[str | None] = []
    with progress("De-identify", len(names), "files") as bar:
        for part in run_tasks(_deidentify_some, context, tasks, workers if len(names) > FEW_FILES else 0):
            codes += part
            bar.advance(len(part))
    refused = pl.DataFrame([names, pl.Series("refused", codes, dtype=pl.String)])
    found = found.join(refused, on="item", how="left", maintain_order="left")
    return found.select("item", code=pl.coalesce("code", "refused"))


def _repeats(scanned: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The scan with the codes of files that repeat an instance, as an ingest gives them."""
    instance = pl.struct("study_uid", "series_uid", "sop_instance_uid")
    whole = pl.col("code").is_null()
    again = scanned.filter(whole).filter(instance.is_duplicated())
    pixels = pl.Series("pixels", [_pixel_hash(folder, item) for item in again["item"]], dtype=pl.String)
    again = again.with_columns(pixels).with_columns(several=pl.col("pixels").n_unique().over(instance) > 1)
    repeat = (
        pl.when("several").then(pl.lit("contradicting-instance"))
        .when(~instance.is_first_distinct()).then(pl.lit("duplicate-instance"))
    )  # fmt: skip
    repeats = again.select("item", repeat=repeat)
    return scanned.join(repeats, on="item", how="left", maintain_order="left").with_columns(code=pl.coalesce("code", "repeat"))


def _pixel_hash(folder: Path, item: str) -> str:
    """Of the modality values, so that another encoding of the same pixels is equal; of the file where they cannot be read."""
    try:
        data = open_item(folder, item)
    except Refusal as refusal:
        return refusal.code
    try:
        frames, _ = read_frames(data)
    except Refusal:
        return blake2b(data).hexdigest()
    return blake2b(f"{frames.shape} {frames.dtype}".encode() + frames.tobytes()).hexdigest()


def _deidentify_some(context: _Context, items: list[str]) -> list[str | None]:
    """The code of each file; None of those that were written."""
    codes: list[str | None] = []
    for item in items:
        try:
            data = open_item(context.folder, item)
            write_file(context.target, deidentify_file(data, context.keys, context.profile, context.burned_in))
            codes.append(None)
        except Refusal as refusal:
            codes.append(refusal.code)
    return codes
