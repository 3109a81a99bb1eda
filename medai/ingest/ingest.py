"""Fill a cohort from a source: once, in parallel, and after a kill from where it stopped."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from medai.audit.audit import audit_cohort
from medai.audit.gate import gate
from medai.cohort.cohort import Cohort
from medai.cohort.key import Keys
from medai.cohort.schema import PIPELINE_VERSION, RECORD
from medai.cohort.split import SplitSettings
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text, read_json, write_json
from medai.core.lock import locked
from medai.core.progress import progress, say
from medai.ingest.collect import collect
from medai.ingest.earlier import AUTO, check_kept, earlier_cohort
from medai.ingest.executor import ExecutorSettings, Run, runner
from medai.ingest.finish import finish, publish
from medai.ingest.unit import (
    BYTES_PER_UNIT,
    CASES_PER_UNIT,
    WORK,
    Unit,
    UnitContext,
    cases_part,
    cut,
    forget_journals,
    ingest_unit,
    mend_unit,
)
from medai.source.base import Scan, ScanContext, Source

UNFINISHED = ".ingesting"
FEW_BYTES = 32 * 2**20  # so much is read sooner than processes have started


def ingest(
    source: Source, cohorts: Path | str, *, workers: int = 2, allow: Sequence[str] = (), executor: ExecutorSettings | None = None,
    keep: str | None = AUTO,
) -> Cohort:  # fmt: skip
    """The cohort of a source: made when it is not there yet, gone on with when it was interrupted, else opened.

    Args:
        source: The data set's definition.
        cohorts: Folder of the cohorts; the cohort is named after the data set and what it was made from.
        workers: Processes that read files; 0 reads in this one. The bytes do not depend on it.
        allow: Hard stops to override, see `medai.cohort.leak`; recorded where they were needed.
        executor: Where the work is done; None: on this machine.
        keep: An earlier cohort whose patients keep their split. ``auto``: the newest of the same name and the same `split` that has
            patients in common; None: no patient is bound.

    Returns:
        The finished cohort.

    Raises:
        MedaiError: the definition does not fit the data, there is no case, or a leak was found.

    Example:
        >>> ingest(NpzSource(name="pneumoniamnist", path="pneumoniamnist.npz", targets=["pneumonia"]), "cohorts").counts["cases"]
        5856
    """
    if not re.fullmatch(r"[^\W_][\w.+-]*", source.name):
        raise MedaiError(f"dataset.name is {source.name!r}; it names a folder: letters, digits, '.', '-' and '_', a letter or digit first")
    if source.channels not in (None, 1, 3):
        raise MedaiError(f"dataset.channels is {source.channels}; allowed: 1, 3, or null for what the images have")
    SplitSettings.from_dict(source.split)  # a wrong setting is told before the work, not after
    if keep not in (None, AUTO):
        Cohort.open(Path(keep))  # told before the work, too
    keys, run = Keys.of(source.public), runner(executor or ExecutorSettings())
    scan = source.scan(ScanContext(Path(cohorts) / f".{source.name}.scan", keys, workers, run))
    if not scan.labels and len(scan.items):  # told before the pixels are read
        raise MedaiError(f"data set {source.name} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    target = Path(cohorts) / f"{source.name}-{_identity(scan, keys)[:8]}"
    if not (target / RECORD).exists():
        with locked(target.with_name(f".{target.name}.lock")):
            if not (target / RECORD).exists():  # another process may have filled it meanwhile
                unfinished = target.with_name(target.name + UNFINISHED)
                if not (unfinished / RECORD).exists():
                    _fill(source, scan, keys, target, unfinished, allow, run, workers, keep)
                del scan  # a row a file, for which there is better use by now
                _audit(unfinished, workers, allow)
                publish(unfinished, target)
                _tell(Cohort.open(target))
    check_kept(Cohort.open(target), keep)
    return _allowed(Cohort.open(target), allow)


def _identity(scan: Scan, keys: Keys) -> str:
    return keys.hash("digest", hash_text(canonical_json([scan.digest, PIPELINE_VERSION, CASES_PER_UNIT, BYTES_PER_UNIT])))


def _fill(
    source: Source, scan: Scan, keys: Keys, target: Path, folder: Path, allow: Sequence[str], run: Run, workers: int, keep: str | None
) -> None:
    units = _read(source, scan, keys, folder, run, workers)
    collected = collect(scan, units, folder, keys, SplitSettings.from_dict(source.split))
    if collected.cases.is_empty():
        raise _no_case(source, collected.quarantine)
    finish(source, scan, collected, folder, keys, allow, earlier_cohort(source, target, keys, collected.cases, keep))


def _audit(folder: Path, workers: int, allow: Sequence[str]) -> None:
    """Let the cohort through, or stop; near-duplicates are left to `medai audit`, since they are for people to judge."""
    record = read_json(folder / RECORD)
    if "audit" not in record:
        passed = gate(audit_cohort(Cohort.open(folder), near=False, workers=workers), allow)
        write_json(folder / RECORD, record | {"audit": passed, "allow": sorted({*record["allow"], *passed["errors"]})})


def _read(source: Source, scan: Scan, keys: Keys, folder: Path, run: Run, workers: int) -> list[Unit]:
    (folder / WORK / "parts").mkdir(parents=True, exist_ok=True)
    forget_journals(folder)
    units = cut(scan.items)
    waiting = [unit for unit in units if not cases_part(folder, unit.number).exists()]
    if waiting:
        scratch = folder / WORK / "unpacked"
        scratch.mkdir(exist_ok=True)
        context = UnitContext(source.prepare(scratch), keys, folder)
        done = len(scan.items) - sum(len(unit.rows) for unit in waiting)
        few = sum(int(unit.rows["size"].sum()) for unit in waiting) < FEW_BYTES
        if done:
            say(f"{source.name}: going on with an interrupted ingest, {done:,} of {len(scan.items):,} items are done")
        with progress(f"Ingest {source.name}", len(scan.items) - done, "items") as bar:
            for number in run(ingest_unit, context, waiting, 0 if few else workers, partial(mend_unit, folder)):
                bar.advance(number)
    return units


def _no_case(source: Source, quarantine: pl.DataFrame) -> MedaiError:
    reasons = ", ".join(f"{number} {code}" for code, number in quarantine["code"].value_counts(sort=True).sort("code").iter_rows())
    where = f"{source.name}: no case could be read from {getattr(source, 'path', None)} ({reasons})"
    return MedaiError(f"{where}; check dataset.path and dataset.labels")


def _tell(cohort: Cohort) -> None:
    counts = cohort.counts
    split = ", ".join(f"{name} {counts[name]:,}" for name in ("train", "validation", "test"))
    found = f"{counts['cases']:,} cases + {counts['quarantined']:,} quarantined = {counts['found']:,} found"
    say(f"{cohort.name}: {found}; {split}; cohort {cohort.path}")
    for label in cohort.labels:
        classes = counts["development_labels"][label.name]
        names = ", ".join(f"{name} {classes[name]:,}" for name in label.classes)
        said = f"negative {names.replace(', ', ', positive ', 1)}" if label.kind == "binary" else names
        others = [name for name in ("uncertain", "unknown") if classes.get(name) and name not in label.classes]
        rest = "".join(f", {name} {classes[name]:,}" for name in others)
        say(f"  {label.name} ({label.kind}): {said}{rest}")
    examples = cohort.quarantine().group_by("code", maintain_order=True).first()
    for code, example, message in examples.select("code", "source_key", "message").iter_rows():
        say(f"  {counts['quarantine'][code]:>7,}  {code:<20} {message} (e.g. {example})")
    for note in cohort.meta["notes"]:
        say(f"  {note}")


def _allowed(cohort: Cohort, allow: Sequence[str]) -> Cohort:
    """An override holds for the call that names it, not for those that find its cohort later."""
    missing = sorted(set(cohort.meta["allow"]) - set(allow))
    if missing:
        made = f"{cohort.path} was made with allow=[{', '.join(missing)}]"
        raise MedaiError(f"{made}: the hard stop still stands; mend the data, or name the override again")
    return cohort
