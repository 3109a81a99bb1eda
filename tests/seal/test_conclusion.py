"""Comparisons on a sealed test set: what they release, what they cost, and that they tell less than a figure does."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import paired_auroc
from medai.seal.audit import audit_ledger
from medai.seal.conclusion import NON_INFERIOR, NOT_SHOWN, SUPERIOR, Conclusion, climb_conclusions, conclude
from medai.seal.results import sealed_headline
from medai.seal.session import SealedSession
from medai.seal.terms import Terms

from .conftest import Facility, Make

SICK = Label("sick", "binary", ("no", "yes"))


def compared(facility: Facility, scores: pl.DataFrame, reference: pl.DataFrame, names: str = "ar", **settings: Any) -> dict[str, Any]:
    """An attempt: the candidate's hash is the first letter of `names`, the reference's the second."""
    candidate, other = (letter * 64 for letter in names)
    with SealedSession(Cohort.open(facility.cohort.path), facility.key) as session:
        session.begin(candidate, "table", settings, other)
        tables = [session.join(table, session.cohort.labels) for table in (scores, reference)]
        return session.compare(*tables, replicates=50)


def test_a_comparison_releases_the_declared_conclusion_alone_and_is_an_attempt(make: Make) -> None:
    facility = make(margin=0.05)
    scores, reference = facility.scores(0, 3.0), facility.scores(1, 1.0)
    released = compared(facility, scores, reference)
    truth = facility.truth["sick"].to_numpy() == 1
    exact = paired_auroc(scores["probability.sick"].to_numpy(), reference["probability.sick"].to_numpy(), truth)
    told = released["seal"]["comparison"]
    assert told["value"] == round(exact.difference, 3) and told["low"] <= exact.low < told["low"] + 0.001
    assert told["high"] - 0.001 < exact.high <= told["high"]
    assert (told["verdict"], told["margin"], told["metric"], told["reference"]) == ("superior", 0.05, "auroc:sick", "r" * 64)
    assert released["labels"] == {} == released["groups"] and released["macro"] == {} and released["seal"]["best"] is None
    assert "superior, difference +" in sealed_headline(released) and "attempt 1 of 3" in sealed_headline(released)
    (entry,) = audit_ledger(facility.cohort, facility.key).attempts
    assert (entry["reference"], entry["conclusion"], entry["attempt"]) == ("r" * 64, "superior", 1)
    kept = facility.cohort.path.parent / "result.json"
    kept.write_text(json.dumps(released))
    assert audit_ledger(facility.cohort, facility.key, result=kept).findings == []
    kept.write_text(json.dumps(released | {"seal": released["seal"] | {"comparison": told | {"low": 0.3}}}))
    assert "differs from what was released in seal.comparison" in audit_ledger(facility.cohort, facility.key, result=kept).findings[0]


def test_a_rerun_is_free_and_another_reference_or_an_evaluation_is_another_attempt(make: Make) -> None:
    facility = make(margin=0.05)
    scores, reference = facility.scores(0), facility.scores(1)
    first = compared(facility, scores, reference)
    assert compared(facility, scores, reference) == first | {"seal": first["seal"] | {"repeat": True}}
    compared(facility, scores, facility.scores(2), "as")
    facility.submit("a" * 64, scores)
    assert [entry.get("reference", "-")[0] for entry in audit_ledger(facility.cohort, facility.key).attempts] == ["r", "s", "-"]
    with pytest.raises(MedaiError, match="all 3 attempts on .* are spent"):
        compared(facility, scores, facility.scores(3), "at")
    with pytest.raises(MedaiError, match="are spent"):  # a reference's hash that lies
        compared(facility, scores, facility.scores(3))
    assert compared(facility, scores, reference)["seal"]["repeat"]


def test_without_a_declared_margin_nothing_is_compared(make: Make) -> None:
    facility = make()
    with pytest.raises(MedaiError, match="no margin was declared when the test set was sealed"):
        compared(facility, facility.scores(0), facility.scores(1))
    assert audit_ledger(facility.cohort, facility.key).unfinished == 0


def test_a_margin_of_a_metric_that_counts_cases_is_refused_at_the_sealing(make: Make) -> None:
    with pytest.raises(MedaiError, match="a difference of it would count discordant cases: leave --margin out, or take one of auroc"):
        make(metric="sensitivity", margin=0.05)


def test_a_verdict_follows_from_the_rounded_interval() -> None:
    random = np.random.default_rng(3)
    truth = np.arange(200) % 2
    base = truth + random.normal(size=200)
    seen = set()
    for step in (-0.8, -0.2, 0.0, 0.1, 0.3, 0.6, 2.0):
        tables = [
            pl.DataFrame({"case_id": [f"c{n}" for n in range(200)], "target.sick": truth, "probability.sick": 1 / (1 + np.exp(-score))})
            for score in (base + step * truth + 0.2 * random.normal(size=200), base)
        ]
        for metric, sign in (("auroc", 1), ("brier", -1), ("average_precision", 1)):
            terms = Terms(metric, "sick", 3, margin=0.05)
            told = conclude(*tables, SICK, terms, replicates=100)
            assert told.low is not None and told.high is not None
            assert all(round(1000 * each, 6) == round(1000 * each) for each in (told.value or 0.0, told.low, told.high))
            worst = told.low if sign == 1 else -told.high
            assert told.verdict == (SUPERIOR if worst > 0 else NON_INFERIOR if worst > -0.05 else NOT_SHOWN)
            seen.add((metric, told.verdict))
    assert {verdict for metric, verdict in seen if metric == "auroc"} == {SUPERIOR, NON_INFERIOR, NOT_SHOWN}


def test_a_small_class_withholds_the_conclusion(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    facility = make(margin=0.05)
    monkeypatch.setattr("medai.seal.suppression.LEAST", 90)  # as if its 60 to 80 events were too few
    released = compared(facility, facility.scores(0, 3.0), facility.scores(1))
    told = released["seal"]["comparison"]
    assert (told["verdict"], told["value"], told["low"], told["high"]) == (None, None, None, None)
    assert "withheld" in sealed_headline(released)


def test_the_ladder_tells_one_word_and_a_new_one_only_where_it_is_stronger(make: Make) -> None:
    facility = make(margin=0.05, ladder=0.02, attempts=9)
    reference = facility.scores(1, 1.5)
    worse, alike, better = facility.scores(2, 0.5), reference, facility.scores(1, 4.0)
    nearly = alike.with_columns(pl.col("probability.sick") + pl.int_range(pl.len()) * 1e-5)
    told = [compared(facility, scores, reference, f"{name}r") for name, scores in zip("abcd", (worse, nearly, better, worse), strict=True)]
    words = [each["seal"]["comparison"] for each in told]
    assert [each["verdict"] for each in words] == [NOT_SHOWN, NON_INFERIOR, SUPERIOR, SUPERIOR]
    assert all(set(each) == {"reference", "metric", "margin", "verdict"} for each in words)
    assert [each["seal"]["released"] for each in told] == [True, True, True, False]
    assert "told before" in sealed_headline(told[-1])
    with pytest.raises(MedaiError, match="the Ladder compares with one reference, rrrrrrrrrrrrrrrr, that of the first comparison"):
        compared(facility, better, worse, "es")
    first = facility.submit("f" * 64, worse)  # the Ladder of the figure knows nothing of comparisons
    assert first["seal"]["released"] and first["seal"]["best"] < 0.8
    compared(facility, nearly, reference, "gr")
    assert facility.submit("h" * 64, better)["seal"]["released"]
    assert audit_ledger(facility.cohort, facility.key).findings == []


def test_on_the_ladder_superior_means_better_by_more_than_eta() -> None:
    small = Conclusion(SUPERIOR, 0.015, 0.001, 0.03, 100, "")
    assert climb_conclusions([], small, 0.02) == NON_INFERIOR
    assert climb_conclusions([], small, 0.01) == SUPERIOR
    assert climb_conclusions([SUPERIOR], small, 0.02) == SUPERIOR
    assert climb_conclusions([None], Conclusion(None, None, None, None, 9, ""), 0.02) == NOT_SHOWN
    assert climb_conclusions([], Conclusion(SUPERIOR, -0.03, -0.04, -0.01, 9, ""), 0.02, higher_is_better=False) == SUPERIOR


def test_many_adaptive_comparisons_on_the_ladder_are_told_apart_in_few_ways(make: Make) -> None:
    """An attacker who moves one case at a time learns nothing from most attempts: the transcript changes twice at most."""
    facility = make(margin=0.05, ladder=0.05, attempts=12)
    reference = facility.scores(1, 1.5)
    transcript = []
    for case in range(12):
        probe = reference.with_columns(
            pl.when(pl.int_range(pl.len()) == case).then(0.99999).otherwise(pl.col("probability.sick")).alias("probability.sick")
        )
        transcript.append(compared(facility, probe, reference, f"{chr(97 + case)}R")["seal"]["comparison"]["verdict"])
    assert sum(new != old for old, new in pairwise(transcript)) <= 2


def test_a_reference_has_to_score_the_same_cases_and_label(make: Make) -> None:
    facility = make(margin=0.05, refusals=2)
    with pytest.raises(MedaiError, match="the reference does not score every case that the candidate scores"):
        compared(facility, facility.scores(0), facility.scores(1)[1:])
    with SealedSession(facility.cohort, facility.key) as session:
        with pytest.raises(MedaiError, match=r"column 'probability\.sick' is missing"):
            session.check_scores(facility.scores().rename({"probability.sick": "probability.well"}), [SICK])
        with pytest.raises(MedaiError, match="outside 0 to 1"):
            session.check_scores(facility.scores().with_columns(pl.lit(1.5).alias("probability.sick")), [SICK])
    assert audit_ledger(facility.cohort, facility.key).attempts == []
