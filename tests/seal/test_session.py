import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.text import WORDS
from medai.evaluation.results import write_results
from medai.seal.audit import audit_ledger
from medai.seal.results import sealed_headline, sealed_summary
from medai.seal.session import SealedSession
from medai.seal.suppression import public_table

from .conftest import Facility, Make


def attempts(facility: Facility) -> int:
    return len(audit_ledger(facility.cohort, facility.key).attempts)


def test_an_evaluation_releases_the_figure_of_the_sealed_labels_and_counts(make: Make) -> None:
    facility = make()
    released = facility.submit()
    truth = facility.scores().join(facility.truth, on="case_id")
    expected = auroc(truth["probability.sick"].to_numpy(), truth["sick"].to_numpy() == 1).value
    assert released["labels"]["sick"]["auroc"]["value"] == pytest.approx(expected, abs=5e-5)
    assert {key: released["seal"][key] for key in ("attempt", "budget", "metric", "released", "repeat")} == {
        "attempt": 1, "budget": 3, "metric": "auroc:sick", "released": True, "repeat": False,
    }  # fmt: skip
    assert released["seal"]["best"] == released["labels"]["sick"]["auroc"]["value"]
    audit = audit_ledger(facility.cohort, facility.key)
    assert audit.findings == [] and len(audit.attempts) == 1 and audit.unfinished == 0
    entry = audit.attempts[0]
    assert entry["candidate"] == "a" * 64 and entry["cohort"] == facility.cohort.hash and entry["code"]["medai"]


def test_over_budget_is_refused_before_the_labels_open_and_a_rerun_stays_free(make: Make) -> None:
    facility = make(attempts=2)
    first = facility.submit("a" * 64)
    facility.submit("b" * 64, facility.scores(1))
    with pytest.raises(MedaiError, match="all 2 attempts on .* are spent; a rerun of an evaluated candidate"):
        facility.submit("c" * 64, facility.scores(2))
    again = facility.submit("a" * 64)
    assert again == first | {"seal": first["seal"] | {"repeat": True}}
    assert attempts(facility) == 2


def test_a_candidate_that_differs_by_one_byte_or_by_its_scores_or_settings_is_another_attempt(make: Make) -> None:
    facility = make(attempts=10)
    facility.submit("a" * 64)
    facility.submit("a" * 63 + "b")
    assert attempts(facility) == 2
    facility.submit("a" * 64, facility.scores(1))  # a hash that lies
    assert attempts(facility) == 3
    facility.submit("a" * 64, seed=1)
    assert attempts(facility) == 4
    facility.submit("a" * 64)
    assert attempts(facility) == 4


def test_a_hash_that_lies_gets_nothing_when_the_budget_is_spent(make: Make) -> None:
    facility = make(attempts=1)
    facility.submit("a" * 64)
    with pytest.raises(MedaiError, match="are spent"):
        facility.submit("a" * 64, facility.scores(1))
    with pytest.raises(MedaiError, match="are spent"):
        facility.submit("a" * 64, seed=1)
    assert attempts(facility) == 1


def test_a_crash_before_the_commit_is_no_attempt_and_is_seen(make: Make) -> None:
    facility = make()

    def crash() -> None:
        with SealedSession(facility.cohort, facility.key) as session:
            session.begin("a" * 64, "table", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    audit = audit_ledger(facility.cohort, facility.key)
    assert (len(audit.attempts), audit.unfinished, audit.findings) == (0, 1, [])


def test_figures_on_chosen_cases_are_refused(make: Make) -> None:
    facility = make(refusals=2)
    scores = facility.scores()
    facility.submit("b" * 64, scores[2:])
    for wrong, message in (
        (scores[:1], "159 of the 160 sealed cases are not predicted, and 2 may be left out"),
        (scores[3:], "3 of the 160"),
        (pl.concat([scores[1:], scores[1:2]]), "is predicted twice"),
        (scores.with_columns(case_id=pl.lit("x") + pl.col("case_id")), "not predicted|not among"),
        (scores.with_columns(pl.lit(1.5).alias("probability.sick")), "outside 0 to 1"),
        (scores.select("case_id"), "column 'probability.sick' is missing"),
    ):
        with pytest.raises(MedaiError, match=message):
            facility.submit("c" * 64, wrong)
    assert attempts(facility) == 1


def test_only_the_probabilities_of_a_strangers_table_are_taken(make: Make) -> None:
    facility = make()
    strange = facility.scores().with_columns(pl.lit(1).alias("target.sick"), patient_id=pl.lit("one"), site=pl.lit("x"))
    with SealedSession(facility.cohort, facility.key) as session:
        session.begin("a" * 64, "table", {})
        table = session.join(strange.sample(fraction=1, shuffle=True, seed=1), session.cohort.labels)
    assert table["target.sick"].to_list() == facility.truth["sick"].to_list()
    assert table["probability.sick"].to_list() == facility.scores()["probability.sick"].to_list()
    assert "one" not in table["patient_id"].to_list() if "patient_id" in table.columns else True


def test_labels_do_not_open_before_the_session_began_and_commit_is_once(make: Make) -> None:
    facility = make()
    with SealedSession(facility.cohort, facility.key) as session:
        assert "sick" not in session.cases().columns
        with pytest.raises(MedaiError, match="open after begin"):
            session.with_labels(session.cases())
        session.begin("a" * 64, "table", {})
        evaluation = facility.evaluation(session, facility.scores())
        session.commit(evaluation)
        with pytest.raises(MedaiError, match="is committed once"):
            session.commit(evaluation)


def test_a_candidate_without_the_primary_label_is_no_attempt(make: Make) -> None:
    facility = make()
    with SealedSession(facility.cohort, facility.key) as session:
        session.begin("a" * 64, "table", {})
        evaluation = facility.evaluation(session, facility.scores())
        evaluation.metrics["labels"]["well"] = evaluation.metrics["labels"].pop("sick")
        with pytest.raises(MedaiError, match="does not predict 'sick'"):
            session.commit(evaluation)
    assert attempts(facility) == 0


def test_a_threshold_can_neither_be_given_nor_differ_from_the_declared_one(make: Make) -> None:
    facility = make(thresholds={"sick": 0.4})
    with SealedSession(facility.cohort, facility.key) as session:
        assert session.thresholds({"sick": 0.7}, {}) == {"sick": 0.4}
        assert session.thresholds({"sick": 0.7}, {"sick": 0.4}) == {"sick": 0.4}
        with pytest.raises(MedaiError, match=r"thresholds.sick=0.7 cannot be given for a sealed test set; declared or frozen is 0.4"):
            session.thresholds({"sick": 0.7}, {"sick": 0.7})


def test_two_evaluators_at_once_even_on_two_copies_are_one(make: Make, tmp_path: Path) -> None:
    facility = make()
    copy = Cohort.open(shutil.copytree(facility.cohort.path, tmp_path / "copy"))
    said: list[str] = []

    def second(cohort: Cohort) -> None:
        try:
            with SealedSession(cohort, facility.key):
                said.append("entered")
        except MedaiError as error:
            said.append(str(error))

    with SealedSession(facility.cohort, facility.key):
        for cohort in (facility.cohort, copy):
            thread = threading.Thread(target=second, args=(cohort,))
            thread.start()
            thread.join(timeout=30)
    assert said == ["another evaluation of this sealed test set is running; wait for it"] * 2


def test_a_ledger_that_changes_during_an_evaluation_releases_nothing(make: Make) -> None:
    facility = make()
    with SealedSession(facility.cohort, facility.key) as session:
        session.begin("a" * 64, "table", {})
        evaluation = facility.evaluation(session, facility.scores())
        facility.ledger.write_text(facility.ledger.read_text().splitlines()[0] + "\n")
        with pytest.raises(MedaiError, match="cannot be trusted"):
            session.commit(evaluation)


@pytest.mark.parametrize("change", [False, True])
def test_a_failure_with_the_labels_open_is_noted_and_says_nothing_unless_the_disk_failed(make: Make, change: bool) -> None:
    facility = make()

    def fail(error: Exception) -> None:
        with SealedSession(facility.cohort, facility.key) as session:
            session.begin("a" * 64, "table", {})
            facility.evaluation(session, facility.scores())
            if change:
                facility.ledger.write_text("")
            raise error

    told = "the ledger of .* changed during the evaluation" if change else "failed with the labels open, which is noted and is no attempt"
    with pytest.raises(MedaiError, match=told) as raised:
        fail(ValueError("the first case is sick"))
    assert raised.value.__suppress_context__
    if change:
        return
    with pytest.raises(OSError, match="no space"):
        fail(OSError("no space"))
    audit = audit_ledger(facility.cohort, facility.key)
    assert (audit.failed, audit.unfinished, len(audit.attempts), audit.findings) == (1, 2, 0, [])


def test_the_ladder_releases_the_primary_metric_alone_and_only_a_better_one(make: Make) -> None:
    facility = make(ladder=0.05, attempts=5)
    first = facility.submit("a" * 64, facility.scores(0, 1.0))
    same = facility.submit("b" * 64, facility.scores(0, 1.02))
    better = facility.submit("c" * 64, facility.scores(0, 5.0))
    assert first["seal"]["released"] and better["seal"]["released"] and not same["seal"]["released"]
    assert same["seal"]["best"] == first["seal"]["best"] < better["seal"]["best"]
    assert all((released["seal"]["best"] / 0.05) == pytest.approx(round(released["seal"]["best"] / 0.05)) for released in (first, better))
    for released in (first, same, better):
        assert released["labels"] == {} == released["groups"] and released["macro"] == {}
    exact = auroc(facility.scores(0, 1.02)["probability.sick"].to_numpy(), facility.truth["sick"].to_numpy() == 1).value
    assert f"{exact:.4f}" not in facility.ledger.read_text() and "no better" not in sealed_headline(better)
    assert "not better than the best by more than 0.05" in sealed_headline(same)


@pytest.mark.parametrize("ladder", [None, 0.05])
def test_nothing_that_is_written_tells_a_label(make: Make, tmp_path: Path, ladder: float | None) -> None:
    facility = make(ladder=ladder)
    released = facility.submit()
    with SealedSession(facility.cohort, facility.key) as session:
        session.begin("a" * 64, "table", {})
        evaluation = facility.evaluation(session, facility.scores())
    context = ReportContext("Test <of> set", CohortSummary("set"), notes=["a note"])
    shown = replace(evaluation, table=public_table(evaluation.table), metrics=released)
    write_results(tmp_path / "results", shown, context, origin={"split": "test", "labels": "cannot replace"}, languages=("en", "zh"))
    table = pl.read_parquet(tmp_path / "results/predictions.parquet")
    assert not [name for name in table.columns if name.startswith("target")] and "probability.sick" in table.columns
    metrics = json.loads((tmp_path / "results/metrics.json").read_text())
    assert metrics == {"split": "test", "flow": {"analysed": 160}} | released
    for name, words in (("report.html", WORDS["en"]), ("report.zh.html", WORDS["zh"])):
        page = (tmp_path / "results" / name).read_text()
        assert "Test &lt;of&gt; set" in page and "<img" not in page
        panels = re.findall(r"<h3[^>]*>(.*?)</h3>", page, re.DOTALL)
        for plot in ("roc", "precision_recall", "reliability", "decision_curve", "distribution"):  # a corner of a curve is a case
            assert not [panel for panel in panels if words[plot] in panel], plot
        assert 'class="band"' not in page and 'class="under"' not in page and 'class="histogram"' not in page
        for case in facility.truth["case_id"]:
            assert f'"{case}"' not in json.dumps(metrics) and f">{case}<" not in page
    files = ["metrics.json", "predictions.parquet", "report.html", "report.zh.html"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == files
    assert audit_ledger(facility.cohort, facility.key, result=tmp_path / "results/metrics.json").findings == []
    metrics["seal"]["best"] = 0.99
    (tmp_path / "false.json").write_text(json.dumps(metrics))
    assert (
        "differs from what was released in seal.best"
        in audit_ledger(facility.cohort, facility.key, result=tmp_path / "false.json").findings[0]
    )
    (tmp_path / "none.json").write_text("{}")
    assert "names no attempt" in audit_ledger(facility.cohort, facility.key, result=tmp_path / "none.json").findings[0]


def test_the_flow_of_cases_is_told_without_the_labels(make: Make) -> None:
    facility = make()
    with SealedSession(facility.cohort, facility.key) as session:
        cases = session.cases()
    summary = sealed_summary(facility.cohort, cases, cases[:150])
    assert summary.analysed == 150 and summary.hash == facility.cohort.hash
    assert summary.elsewhere == facility.cohort.counts["cases"] - facility.cohort.counts["excluded"] - 160


def test_plain_labels_lie_in_no_file_once_sealed(make: Make) -> None:
    facility = make()
    facility.submit()
    for path in facility.cohort.path.rglob("*.parquet"):
        frame = pl.read_parquet(path)
        if "sick" in frame.columns:
            assert not set(frame["case_id"]) & set(facility.truth["case_id"])
