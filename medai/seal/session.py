"""One evaluation on a sealed test set: predictions first, labels afterwards, and nothing out before the attempt counts.

    with SealedSession(cohort, key_file) as session:
        session.begin(candidate.hash, candidate.kind, settings)
        predicted = predict_cases(candidate, cohort, session.cases())        # no labels are open yet
        table = predictions_table(session.with_labels(predicted.cases), ...)
        evaluation = evaluate(table, ...)                                    # in memory
        released = session.commit(evaluation, groups)                        # counts; only this may be shown

A comparison begins with `begin(..., reference=hash)` and ends with `compare(table, reference_table)` in place of `commit`.

A process that ends before `commit` has counted spent no attempt, and has shown nothing. One that ends just afterwards spent it, and the
same candidate gets the same answer again without another attempt.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.environment import commit as code_commit
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.label import Label, columns_of
from medai.evaluation.evaluate import SCHEMA
from medai.evaluation.figure import CONFIDENCE
from medai.evaluation.group import Group
from medai.evaluation.patient import patients_of
from medai.evaluation.predictions import predictions_table
from medai.evaluation.table import check_predictions
from medai.seal.conclusion import Conclusion, climb_conclusions, conclude, declared_margin
from medai.seal.crypto import SealKey, read_key
from medai.seal.ladder import climb
from medai.seal.register import Register
from medai.seal.seal import (
    ATTEMPT,
    BEGUN,
    FAILED,
    REPEAT,
    Seal,
    ledger_of,
    open_labels,
    part_faults,
    read_exact,
    read_released,
    read_seal,
    rolled_back,
    write_released,
)
from medai.seal.suppression import WITHHELD, few_cases, public_table, release
from medai.seal.terms import Terms, primary_value

if TYPE_CHECKING:
    from medai.evaluation.evaluate import Evaluation

Kept = TypeVar("Kept")
Of = TypeVar("Of")
KEPT = ("schema", "cases", "patients", "confidence", "seed", "replicates", "groups_left_out")  # where no figure of a label is released
FAILURES = 10  # with the labels open that are allowed beyond the number of attempts
NOTHING: dict[str, Any] = {"labels": {}, "macro": {}, "groups": {}}


class SealedSession:
    """The way to a sealed cohort's test labels. It holds the cohort's lock from `with` to its end.

    Args:
        cohort: A sealed one.
        key_file: The evaluator's key.

    Raises:
        MedaiError: (on entering) wrong key, changed files or ledger, or another evaluator at work.
    """

    def __init__(self, cohort: Cohort, key_file: Path) -> None:
        self.cohort = cohort
        self._key = read_key(key_file, outside=cohort.path)
        self._register = Register(self._key, cohort.hash)
        self._stack = ExitStack()
        self._about: dict[str, Any] | None = None
        self._opened = self._committed = False
        self._plain_error: MedaiError | None = None  # the last one that says nothing of a label

    def __enter__(self) -> "SealedSession":
        if not self.cohort.sealed and self._register.read() is not None:
            raise MedaiError(f"{self.cohort.path} was sealed with {self._key.path}, and its sealed labels are gone; restore them")
        self._seal: Seal = read_seal(self.cohort, self._key)
        self._ledger = ledger_of(self.cohort, self._key, self._seal)
        with ExitStack() as stack:
            stack.enter_context(self._register.locked())
            faults = part_faults(self.cohort, self._key, self._seal)
            if faults:
                raise MedaiError(f"{self.cohort.path / faults[0]} is not what was sealed; restore it, or evaluate an untouched copy")
            entries = self._ledger.entries()
            if not entries:
                raise MedaiError(f"the ledger of {self.cohort.path} is empty; restore it")
            if rolled_back(self.cohort, len(entries)):
                raise MedaiError(
                    f"{self.cohort.path} holds results of attempts after the ledger's end; restore the newest register and ledger"
                )
            open_labels(self.cohort, self._key, self._seal)  # a swapped file is found before the work
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close. A failure between the opening of the labels and the attempt is written down, and what it says stays inside.

        Raises:
            MedaiError: in place of such a failure.
        """
        try:
            inside = isinstance(error, Exception) and not isinstance(error, OSError) and error is not self._plain_error
            if inside and self._opened and not self._committed:
                self._fail()
        finally:
            self._stack.close()

    def _fail(self) -> None:
        if self._ledger.faults():
            raise MedaiError(f"the ledger of {self.cohort.path} changed during the evaluation; see: medai audit-ledger") from None
        self._ledger.append(FAILED, self._about or {})
        what = "the evaluation failed with the labels open, which is noted and is no attempt"
        raise MedaiError(f"{what}; why could tell of a label and stays inside: try the same on validation") from None

    @property
    def terms(self) -> Terms:
        """What was declared."""
        return self._seal.terms

    def thresholds(self, frozen: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
        """The operating points: declared ones first, then those that the candidate froze.

        Args:
            frozen: By the candidate, on its validation cases.
            given: For this evaluation, on the command line or in a file.

        Raises:
            MedaiError: one was given that is neither: it could be tuned on the sealed cases.
        """
        found = dict(frozen) | dict(self.terms.thresholds)
        for label, value in given.items():
            if found.get(label) != value:
                allowed = f"{found[label]:g}" if label in found else "none"
                raise MedaiError(f"thresholds.{label}={value:g} cannot be given for a sealed test set; declared or frozen is {allowed}")
        return found

    def begin(self, candidate: str, kind: str, settings: Mapping[str, Any], reference: str | None = None) -> None:
        """Write down that a candidate is about to be evaluated, or compared. This is no attempt yet.

        Args:
            candidate: Hash of all its bytes (of a table of predictions: of the file).
            kind: E.g. ``"checkpoint"``, ``"package"``, ``"onnx"``, ``"table"``.
            settings: Everything else that shapes the figures: seed, replicates, thresholds, groups, prevalences, ...
            reference: Hash of the model that the candidate is compared with; None for an evaluation.

        Raises:
            MedaiError: the budget is spent, and this candidate is none that was evaluated before; no margin was declared; with the
                Ladder, another reference was compared with before; or too many evaluations failed with the labels open.
        """
        about = {"candidate": candidate, "candidate_kind": kind, "settings": hash_text(canonical_json(dict(settings)))}
        attempts = self._attempts()
        if not any(_same(entry, about | {"reference": reference}) for entry in attempts):
            self._check_budget(len(attempts))
        if reference is not None:
            declared_margin(self.terms, None)
            self._check_reference(reference)
            about["reference"] = reference
        code = {"medai": versions()["medai"], "commit": code_commit()}
        self._about = about | {"cohort": self.cohort.hash, "code": code}
        self._ledger.append(BEGUN, self._about)

    def cases(self) -> pl.DataFrame:
        """The sealed cases as `Cohort.select` gives them, without labels, ordered by ordinal."""
        return self.cohort.unlabelled_test()

    def with_labels(self, predicted: pl.DataFrame) -> pl.DataFrame:
        """Add the labels to cases that were predicted. To be called once the predictions are complete.

        Args:
            predicted: Rows of `cases()`, as many as the terms ask for: figures on chosen cases would tell their labels.

        Raises:
            MedaiError: `begin` was not called, a case is unknown or twice, or too many are missing.
        """
        if self._about is None:
            raise MedaiError("the labels of a sealed test set open after begin() only")
        self._check_complete(predicted)
        self._opened = True
        labels = open_labels(self.cohort, self._key, self._seal).select("case_id", *(label.name for label in self.cohort.labels))
        return predicted.join(labels, on="case_id", how="left", maintain_order="left", validate="1:1")

    def join(self, scores: pl.DataFrame, labels: Sequence[Label]) -> pl.DataFrame:
        """The table to evaluate, from somebody's table of scores: only its probabilities are taken, all else is the cohort's.

        Args:
            scores: `case_id` and the probability columns of `labels`, a row a sealed case.
            labels: What it predicts.

        Raises:
            MedaiError: as `with_labels`; or a probability is missing or none.
        """
        given = self.check_scores(scores, labels)
        cases = self.cases().join(given.select("case_id"), on="case_id", how="semi", maintain_order="left")
        return self._with_scores(self.with_labels(cases), given, labels)

    def check_scores(self, scores: pl.DataFrame, labels: Sequence[Label]) -> pl.DataFrame:
        """Check a table of scores as far as it can be without the labels.

        Returns:
            `case_id` and the probability columns of `labels`.

        Raises:
            MedaiError: as `join`.
        """
        columns = [f"probability.{name}" for name in columns_of(labels)]
        absent = [name for name in ("case_id", *columns) if name not in scores.columns]
        if absent:
            raise MedaiError(f"column {absent[0]!r} is missing")
        given = scores.select(pl.col("case_id").cast(pl.String), *columns)
        self._check_complete(given)
        unknown = self.cases().join(given.select("case_id"), on="case_id", how="semi", maintain_order="left")
        self._with_scores(unknown.with_columns(pl.lit(None, pl.Int64).alias(label.name) for label in labels), given, labels)
        return given

    @staticmethod
    def _with_scores(cases: pl.DataFrame, given: pl.DataFrame, labels: Sequence[Label]) -> pl.DataFrame:
        scores = cases.select("case_id").join(given, on="case_id", how="left", maintain_order="left").drop("case_id")
        return check_predictions(predictions_table(cases, labels, scores.cast(pl.Float64).to_numpy()), labels)

    def commit(self, evaluation: "Evaluation", groups: Sequence[Group] = ()) -> dict[str, Any]:
        """Count the attempt, durably, and give what may be shown of it.

        Args:
            evaluation: Of the table made with `with_labels`.
            groups: Those of its metrics, from `groups_of`.

        Returns:
            The metrics to write, print and track in place of `evaluation.metrics`; `seal` says what was released.

        Raises:
            MedaiError: the budget is spent, or the ledger changed meanwhile. Then nothing was released.
        """
        about = self._ready(comparison=False)
        if self.terms.label not in evaluation.metrics["labels"]:
            raise self._plain(f"the candidate does not predict {self.terms.label!r}, of which the primary metric {self.terms.primary} is")
        self._check_complete(evaluation.table)
        identity = self._identity(about, evaluation.table)
        attempts = self._attempts()
        known = self._known(attempts, identity)
        if known is not None:
            return known
        number = len(self._ledger.entries())
        released = self._released(evaluation, groups, attempts, number)
        write_released(self.cohort, self._key, self._seal, number, released, primary_value(evaluation.metrics, self.terms))
        return self._count(identity, released, {"best": released["seal"]["best"]})

    def compare(self, candidate: pl.DataFrame, reference: pl.DataFrame, *, seed: int = 0, replicates: int = 2000) -> dict[str, Any]:
        """Compare two models in the primary metric, count the attempt, durably, and give the declared conclusion and nothing else.

        Args:
            candidate: Predictions with the truth, made with `with_labels` or `join`.
            reference: Those of the model that `begin` named, on the same cases.
            seed: Of the bootstrap, where the interval is one.
            replicates: Of the bootstrap.

        Returns:
            Metrics to write, as of `commit`, without a figure of either model; `seal.comparison` holds the conclusion.

        Raises:
            MedaiError: the budget is spent, or one of the models lacks the primary label. Then nothing was released.
        """
        about, label = self._ready(comparison=True), self._primary_label()
        for name, table in (("candidate", candidate), ("reference", reference)):
            if f"probability.{label.columns[0]}" not in table.columns:
                raise self._plain(f"the {name} does not predict {label.name!r}, of which the primary metric {self.terms.primary} is")
            self._check_complete(table)
        if set(candidate["case_id"]) != set(reference["case_id"]):
            raise self._plain("the reference does not score every case that the candidate scores; give it all of them")
        identity = self._identity(about, candidate, reference)
        attempts = self._attempts()
        known = self._known(attempts, identity)
        if known is not None:
            return known
        number = len(self._ledger.entries())
        if few_cases(candidate, label):
            conclusion = Conclusion(None, None, None, None, len(candidate), WITHHELD)
        else:
            conclusion = conclude(candidate, reference, label, self.terms, seed=seed, replicates=replicates)
        released = self._concluded(candidate, conclusion, attempts, number) | {"seed": seed, "replicates": replicates}
        write_released(self.cohort, self._key, self._seal, number, released)
        return self._count(identity, released, {"best": None, "conclusion": released["seal"]["comparison"]["verdict"]})

    def _ready(self, *, comparison: bool) -> dict[str, Any]:
        if self._about is None or not self._opened or self._committed or ("reference" in self._about) != comparison:
            raise self._plain("a sealed evaluation is committed once, after begin() and with_labels()")
        return self._about

    def _plain(self, text: str) -> MedaiError:
        """An error that says nothing of a label."""
        self._plain_error = MedaiError(text)
        return self._plain_error

    def _primary_label(self) -> Label:
        return next(label for label in self.cohort.labels if label.name == self.terms.label)

    def _identity(self, about: Mapping[str, Any], *tables: pl.DataFrame) -> dict[str, Any]:
        texts = [public_table(table).sort("case_id").write_csv() for table in tables]
        predictions = hash_text("\0".join(texts))
        return {
            "candidate": about["candidate"],
            "settings": about["settings"],
            "predictions": predictions,
            "reference": about.get("reference"),
        }

    def _known(self, attempts: Sequence[Mapping[str, Any]], identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was released of the same evaluation before, if it was made.

        Raises:
            MedaiError: it was not, and the budget is spent.
        """
        for entry in attempts:
            if _same(entry, identity):
                return self._repeat(entry)
        if len(attempts) >= self.terms.attempts:
            raise self._plain(self._spent())
        return None

    def _count(self, identity: Mapping[str, Any], released: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
        """Write the attempt into the ledger; from here on it counts."""
        counted = {"attempt": released["seal"]["attempt"], "released": released["seal"]["released"], **told}
        body = (self._about or {}) | {name: value for name, value in identity.items() if value is not None}
        self._ledger.append(ATTEMPT, body | counted | {"metrics": hash_text(canonical_json(released))})
        self._committed = True
        return released

    def _repeat(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        released = self._kept(read_released, entry["number"])
        if hash_text(canonical_json(released)) != entry["metrics"]:
            raise self._plain(f"what attempt {entry['attempt']} released is not what the ledger holds; restore the cohort's folder seal")
        self._ledger.append(REPEAT, {"candidate": entry["candidate"], "of": entry["number"]})
        self._committed = True
        return released | {"seal": released["seal"] | {"repeat": True}}

    def _kept(self, read: Callable[[Cohort, SealKey, Seal, Of], Kept], of: Of) -> Kept:
        """What was kept of an attempt; that it is missing says nothing of a label."""
        try:
            return read(self.cohort, self._key, self._seal, of)
        except MedaiError as error:
            raise self._plain(str(error)) from None

    def _released(
        self, evaluation: "Evaluation", groups: Sequence[Group], attempts: Sequence[Mapping[str, Any]], number: int
    ) -> dict[str, Any]:
        terms, value = self.terms, primary_value(evaluation.metrics, self.terms)
        record = self._record(attempts, number)
        if terms.ladder is None:
            metrics, withheld = release(evaluation, groups)
            told = primary_value(metrics, terms)
            return metrics | {"seal": record | {"released": True, "best": told, "withheld": withheld}}
        if value is None:
            raise MedaiError(f"{terms.primary} is not defined for this candidate, so there is nothing to release")
        figures = [entry for entry in attempts if "reference" not in entry]
        best = figures[-1]["best"] if figures else None
        rungs = [entry for entry in figures if entry["released"]]
        exact = self._kept(read_exact, rungs[-1]) if rungs else None
        step = climb(best, value, terms.ladder, exact, higher_is_better=terms.higher_is_better)
        seal = record | {"released": step.released, "best": step.best, "withheld": ["labels", "macro", "groups"]}
        return {key: evaluation.metrics[key] for key in KEPT if key in evaluation.metrics} | NOTHING | {"seal": seal}

    def _concluded(self, table: pl.DataFrame, conclusion: Conclusion, attempts: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
        """What a comparison releases. With the Ladder: one word, and a new one only where it is stronger than any before."""
        terms, new = self.terms, True
        told = conclusion.to_dict()
        if terms.ladder is not None:
            before = [entry["conclusion"] for entry in attempts if "reference" in entry]
            verdict = climb_conclusions(before, conclusion, terms.ladder, higher_is_better=terms.higher_is_better)
            new, told = not before or verdict != before[-1], {"verdict": verdict}
        assert self._about is not None
        compared = {"reference": self._about["reference"], "metric": terms.primary, "margin": terms.margin, **told}
        seal = self._record(attempts, number) | {"released": new, "best": None, "withheld": list(NOTHING), "comparison": compared}
        patients = patients_of(table).to_dict()
        return {"schema": SCHEMA, "cases": len(table), "patients": patients, "confidence": CONFIDENCE, **NOTHING, "seal": seal}

    def _record(self, attempts: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
        """What the seal says of every attempt."""
        terms = self.terms
        return {
            "id": self._seal.identity, "metric": terms.primary, "attempt": len(attempts) + 1, "budget": terms.attempts, "entry": number,
            "margin": terms.margin, "ladder": terms.ladder, "repeat": False,
        }  # fmt: skip

    def _check_reference(self, reference: str) -> None:
        """With the Ladder the first comparison fixes the reference: a conclusion each for many would bound nothing."""
        known = [entry["reference"] for entry in self._attempts() if "reference" in entry]
        if self.terms.ladder is not None and known and known[0] != reference:
            what = f"the Ladder compares with one reference, {known[0][:16]}, that of the first comparison, and this is {reference[:16]}"
            raise MedaiError(f"{what}; name that one")

    def _check_budget(self, attempts: int) -> None:
        """Refuse a new candidate where the budget is spent, or too much has failed.

        Whoever finds a way to fail by the labels would learn one of them each time, uncounted.
        """
        if attempts >= self.terms.attempts:
            raise MedaiError(self._spent())
        failed = sum(entry["kind"] == FAILED for entry in self._ledger.entries())
        if failed >= self.terms.attempts + FAILURES:
            what = f"{failed} evaluations on {self.cohort.path} failed with the labels open, and each failure can tell of a label"
            raise MedaiError(f"{what}; only reruns of evaluated candidates are left")

    def _attempts(self) -> list[dict[str, Any]]:
        return [entry for entry in self._ledger.entries() if entry["kind"] == ATTEMPT]

    def _check_complete(self, predicted: pl.DataFrame) -> None:
        wanted = self.cases()
        strange = predicted.join(wanted, on="case_id", how="anti")
        if len(strange):
            raise self._plain(f"case {strange['case_id'][0]!r} is not among the sealed test cases ({len(strange)} such); leave it out")
        if predicted["case_id"].n_unique() < len(predicted):
            raise self._plain("a sealed case is predicted twice; give one row a case")
        missing = len(wanted) - len(predicted)
        if missing > self.terms.refusals:
            what = f"{missing} of the {len(wanted)} sealed cases are not predicted, and {self.terms.refusals} may be left out"
            raise self._plain(f"{what}: figures on chosen cases would tell their labels; predict them all")

    def _spent(self) -> str:
        return (
            f"all {self.terms.attempts} attempts on {self.cohort.path} are spent; a rerun of an evaluated candidate gives its figures again"
        )


def _same(entry: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Whether an attempt was of the same candidate, settings and (where given) predictions."""
    return all(entry.get(name) == identity[name] for name in ("candidate", "settings", "predictions", "reference") if name in identity)
