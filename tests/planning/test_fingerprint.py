"""The facts that a plan rests on."""

import json
from collections.abc import Callable
from dataclasses import replace

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.schema import TEST_LABELS
from medai.planning.fingerprint import fingerprint

Cohorts = Callable[[str], Cohort]


def test_sizes_and_counts_are_those_of_the_development_cases(cohort: Cohorts) -> None:
    facts = fingerprint(cohort("colour"))
    assert (facts.train, facts.validation, facts.side, facts.patients) == (60, 24, 96, None)
    assert (facts.size.height.median, facts.size.width.most, round(facts.size.aspect.median, 2)) == (96, 128, 1.33)
    assert facts.size.channels == {"3": 84}
    assert facts.values.dtypes == {"uint8": 84}


def test_values_are_told_apart(cohort: Cohorts) -> None:
    kinds = {kind: fingerprint(cohort(kind)).values.kind for kind in ("grey", "ct", "colour", "findings")}
    assert kinds == {"grey": "8-bit", "ct": "hu", "colour": "8-bit", "findings": "arbitrary"}
    low, high = fingerprint(cohort("ct")).values.body
    assert -25 < low < -15
    assert 95 < high < 105  # the air at -1000 has no part in it


def test_labels_have_their_classes_and_the_rarest_is_found(cohort: Cohorts) -> None:
    facts = fingerprint(cohort("findings"))
    label, name, count, share = facts.rarest
    truth = int(cohort("findings").select("train")["finding_2"].sum())
    assert (label.name, name, count, share) == ("finding_2", "present", truth, truth / 200)
    assert sum(label.validation.values()) == 60
    assert (label.unknown, label.uncertain) == (0, 0)


def test_no_pixel_and_no_label_of_the_test_part_is_read(cohort: Cohorts) -> None:
    opened = cohort("grey")
    test = set(opened.cases().filter(pl.col("partition") == "test").select("shard", "offset").iter_rows())
    whole = fingerprint(opened)
    sealed = opened.path / TEST_LABELS
    content = sealed.read_bytes()
    try:
        sealed.write_bytes(b"sealed")
        assert fingerprint(opened) == whole
    finally:
        sealed.write_bytes(content)
    assert whole.values.images == 64
    read = _places_read(opened)
    assert len(read) == 64
    assert not read & test


def _places_read(opened: Cohort) -> set[tuple[int, int]]:
    from medai.planning import fingerprint as module

    read: set[tuple[int, int]] = set()

    class Noting(module.NativePixels):
        def read(self, shard: int, offset: int, length: int):  # type: ignore[no-untyped-def]
            read.add((shard, offset))
            return super().read(shard, offset, length)

    original, module.NativePixels = module.NativePixels, Noting  # type: ignore[misc]
    try:
        fingerprint(opened)
    finally:
        module.NativePixels = original  # type: ignore[misc]
    return read


def test_the_same_seed_gives_the_same_fingerprint_and_it_is_json(cohort: Cohorts) -> None:
    one, other = fingerprint(cohort("grey"), seed=3), fingerprint(cohort("grey"), seed=3)
    assert one == other
    assert fingerprint(cohort("grey"), seed=4).values != one.values
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["size"]["height"]["median"] == 28
    assert replace(one, train=1) != one
