"""Near-duplicates of a cohort as findings: for a person to look at, not a gate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from medai.audit.finding import NOTE, REVIEW, Finding, plural
from medai.audit.near import DISTANCE, NOISY, VERIFIED, Search, near_duplicates
from medai.audit.overlap import BORDERS
from medai.audit.pixel import CasePixels, thumbnails

LISTED = 1000  # pairs in the record
METHOD = (
    f"64-bit pHash of the whole and of its windows within {DISTANCE} bits, then likeness of the registered pixels "
    f"(mean of their cross-correlation, twice, and of that with even contrast) from {VERIFIED}, "
    f"or from {NOISY} where half a grey level is noise enough to explain it"
)
SAME = "Follow-ups and neighbouring slices do: they are no leak while a patient is in one split."
RELATIONS = ("across", "within", "unknown", "patient")
LOOK = "Look at the pairs. If they are one image, the two patients may be one: leave one of them out, or mend the names."


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates of a cohort.

    Attributes:
        pairs: `first`, `second` (case ids), `first_split`, `second_split`, `relation`, `likeness`, `window`, ordered by relation
            (`RELATIONS`: different patients across splits, within one split, an unknown patient, one patient) and likeness.
        record: Counts for the record.
    """

    pairs: pl.DataFrame
    record: dict[str, Any]

    def findings(self) -> list[Finding]:
        """Review items, and a note on pairs of one patient."""
        titles = {
            "across": (REVIEW, "of different patients lie in two splits and look alike", LOOK),
            "within": (REVIEW, "of different patients in one split look alike", LOOK),
            "unknown": (REVIEW, "look alike, and the patient of one of them is unknown", LOOK),
            "patient": (NOTE, "of one patient look alike", SAME),
        }  # fmt: skip
        found = []
        for relation, (severity, what, advice) in titles.items():
            chosen = self.pairs.filter(pl.col("relation") == relation)
            if len(chosen):
                names = [f"{one} = {other}" for one, other in chosen.select("first", "second").head(20).iter_rows()]
                code, title = f"near-duplicate-{relation}", f"{plural(len(chosen), 'pair')} of images {what}."
                n = self.record["pairs_compared"]
                found.append(Finding(code, severity, title, len(chosen), n, METHOD, advice, names))
        if self.record["looked_at"] < self.record["candidates"]:
            seen, of = self.record["looked_at"], self.record["candidates"]
            title = f"The pixels of {seen:,} of {of:,} candidate pairs were looked at, the likeliest."
            found.append(Finding("near-duplicates-cut", NOTE, title, seen, of, METHOD))
        return found


def find_near_duplicates(cases: pl.DataFrame, source: CasePixels, workers: int = 2) -> NearDuplicates:
    """Search all cases, whatever their split; of cases with equal pixels the first alone.

    Args:
        cases: `case_id`, `patient_id`, `split`, `pixel_hash` and where the pixels lie.
        source: Reads them.
        workers: Processes that read, threads that compare.
    """
    distinct = cases.filter(pl.col("pixel_hash").is_null() | pl.col("pixel_hash").is_first_distinct())

    def read(place: int) -> np.ndarray:
        return source.read(distinct.row(place, named=True))

    search = near_duplicates(thumbnails(source, distinct, workers), read, threads=workers)
    pairs = _table(search, distinct)
    return NearDuplicates(pairs, _record(search, len(cases) - len(distinct)) | {"across": _across(pairs)})


def _table(search: Search, cases: pl.DataFrame) -> pl.DataFrame:
    sides: dict[str, pl.Series] = {}
    for name, places in (("first", search.first), ("second", search.second)):
        rows = cases[places].select("case_id", "split", "patient_id")
        sides |= {name: rows["case_id"], f"{name}_split": rows["split"], f"{name}_patient": rows["patient_id"]}
    pairs = pl.DataFrame(sides).with_columns(
        likeness=pl.Series(search.likeness.round(4), dtype=pl.Float64),
        window=pl.Series(search.frames.round(3).tolist(), dtype=pl.List(pl.Float64)),
    )
    one, other = pl.col("first_patient"), pl.col("second_patient")
    relation = (
        pl.when(one.is_null() | other.is_null()).then(pl.lit("unknown"))
        .when(one == other).then(pl.lit("patient"))
        .when(pl.col("first_split") == pl.col("second_split")).then(pl.lit("within"))
        .otherwise(pl.lit("across"))
    )  # fmt: skip
    pairs = pairs.with_columns(relation=relation).drop("first_patient", "second_patient")
    return pairs.sort(pl.col("relation").cast(pl.Enum(RELATIONS)), "likeness", descending=[False, True], maintain_order=True)


def _across(pairs: pl.DataFrame) -> dict[str, int]:
    """How many pairs, of different or unknown patients, lie across each border."""
    splits = pairs.filter(pl.col("relation") != "patient").select("first_split", "second_split").rows()
    return {f"{one}/{other}": sum({one, other} == set(pair) for pair in splits) for one, other in BORDERS}


def _record(search: Search, equal: int) -> dict[str, Any]:
    return {
        "images": search.images,
        "featureless": search.featureless,
        "equal_left_out": equal,
        "pairs_compared": search.compared,
        "hashes_compared": search.hashes_compared,
        "candidates": search.candidates,
        "looked_at": search.looked_at,
        "crowds": search.crowds,
        "found": len(search.first),
        "method": METHOD,
    }
