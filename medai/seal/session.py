"""One evaluation on a sealed test set: predictions first, labels afterwards, and nothing out before the attempt counts.

    with SealedSession(cohort, key_file) as session:
        session.begin(candidate.hash, candidate.kind, settings)
        predicted = predict_cases(candidate, cohort, session.cases())        # no labels are open yet
        table = predictions_table(session.with_labels(predicted.cases), ...)
        evaluation = evaluate(table, ...)                                    # in memory
        released = session.commit(evaluation, groups)                        # counts; only this may be shown

A process that ends before `commit` has counted spent no attempt, and has shown nothing. One that ends just afterwards spent it, and the
same candidate gets the same answer again without another attempt.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.environment import commit as code_commit
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.label import Label, columns_of
from medai.evaluation.group import Group
from medai.evaluation.predictions import predictions_table
from medai.evaluation.table import check_predictions
from medai.seal.crypto import read_key
from medai.seal.ladder import climb
from medai.seal.register import Register
from medai.seal.seal import (
    ATTEMPT,
    BEGUN,
    REPEAT,
    Seal,
    ledger_of,
    open_labels,
    part_faults,
    read_exact,
    read_released,
    read_seal,
    write_released,
)
from medai.seal.suppression import public_table, release
from medai.seal.terms import Terms, primary_value

if TYPE_CHECKING:
    from medai.evaluation.evaluate import Evaluation


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
            if not self._ledger.entries():
                raise MedaiError(f"the ledger of {self.cohort.path} is empty; restore it")
            open_labels(self.cohort, self._key, self._seal)  # a swapped file is found before the work
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

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

    def begin(self, candidate: str, kind: str, settings: Mapping[str, Any]) -> None:
        """Write down that a candidate is about to be evaluated. This is no attempt yet.

        Args:
            candidate: Hash of all its bytes (of a table of predictions: of the file).
            kind: E.g. ``"checkpoint"``, ``"package"``, ``"onnx"``, ``"table"``.
            settings: Everything else that shapes the figures: seed, replicates, thresholds, groups, prevalences, ...

        Raises:
            MedaiError: the budget is spent, and this candidate is none that was evaluated before.
        """
        about = {"candidate": candidate, "candidate_kind": kind, "settings": hash_text(canonical_json(dict(settings)))}
        attempts = self._attempts()
        if len(attempts) >= self.terms.attempts and not any(_same(entry, about) for entry in attempts):
            raise MedaiError(self._spent())
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
        columns = [f"probability.{name}" for name in columns_of(labels)]
        absent = [name for name in ("case_id", *columns) if name not in scores.columns]
        if absent:
            raise MedaiError(f"column {absent[0]!r} is missing")
        given = scores.select(pl.col("case_id").cast(pl.String), *columns)
        cases = self.with_labels(self.cases().join(given.select("case_id"), on="case_id", how="semi", maintain_order="left"))
        self._check_complete(given)
        ordered = cases.select("case_id").join(given, on="case_id", how="left", maintain_order="left").select(columns)
        return check_predictions(predictions_table(cases, labels, ordered.cast(pl.Float64).to_numpy()), labels)

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
        if self._about is None or not self._opened or self._committed:
            raise MedaiError("a sealed evaluation is committed once, after begin() and with_labels()")
        if self.terms.label not in evaluation.metrics["labels"]:
            raise MedaiError(f"the candidate does not predict {self.terms.label!r}, of which the primary metric {self.terms.primary} is")
        self._check_complete(evaluation.table)
        predictions = hash_text(public_table(evaluation.table).sort("case_id").write_csv())
        identity = {"candidate": self._about["candidate"], "settings": self._about["settings"], "predictions": predictions}
        attempts = self._attempts()
        for entry in attempts:
            if _same(entry, identity):
                return self._repeat(entry)
        if len(attempts) >= self.terms.attempts:
            raise MedaiError(self._spent())
        number = len(self._ledger.entries())
        released = self._released(evaluation, groups, attempts, number)
        write_released(self.cohort, self._key, self._seal, number, released, primary_value(evaluation.metrics, self.terms))
        told = {"attempt": len(attempts) + 1, "released": released["seal"]["released"], "best": released["seal"]["best"]}
        self._ledger.append(ATTEMPT, self._about | identity | told | {"metrics": hash_text(canonical_json(released))})
        self._committed = True
        return released

    def _repeat(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        released = read_released(self.cohort, self._key, self._seal, entry["number"])
        if hash_text(canonical_json(released)) != entry["metrics"]:
            raise MedaiError(f"what attempt {entry['attempt']} released is not what the ledger holds; restore the cohort's folder seal")
        self._ledger.append(REPEAT, {"candidate": entry["candidate"], "of": entry["number"]})
        self._committed = True
        return released | {"seal": released["seal"] | {"repeat": True}}

    def _released(
        self, evaluation: "Evaluation", groups: Sequence[Group], attempts: Sequence[Mapping[str, Any]], number: int
    ) -> dict[str, Any]:
        terms, value = self.terms, primary_value(evaluation.metrics, self.terms)
        record = {
            "id": self._seal.identity, "metric": terms.primary, "attempt": len(attempts) + 1, "budget": terms.attempts, "entry": number,
            "margin": terms.margin, "ladder": terms.ladder, "repeat": False,
        }  # fmt: skip
        if terms.ladder is None:
            metrics, withheld = release(evaluation, groups)
            told = primary_value(metrics, terms)
            return metrics | {"seal": record | {"released": True, "best": told, "withheld": withheld}}
        if value is None:
            raise MedaiError(f"{terms.primary} is not defined for this candidate, so there is nothing to release")
        best = attempts[-1]["best"] if attempts else None
        rungs = [entry["number"] for entry in attempts if entry["released"]]
        exact = read_exact(self.cohort, self._key, self._seal, rungs[-1]) if rungs else None
        step = climb(best, value, terms.ladder, exact, higher_is_better=terms.higher_is_better)
        kept = ("schema", "cases", "patients", "confidence", "seed", "replicates", "groups_left_out")
        nothing: dict[str, Any] = {"labels": {}, "macro": {}, "groups": {}}
        seal = record | {"released": step.released, "best": step.best, "withheld": ["labels", "macro", "groups"]}
        return {key: evaluation.metrics[key] for key in kept if key in evaluation.metrics} | nothing | {"seal": seal}

    def _attempts(self) -> list[dict[str, Any]]:
        return [entry for entry in self._ledger.entries() if entry["kind"] == ATTEMPT]

    def _check_complete(self, predicted: pl.DataFrame) -> None:
        wanted = self.cases()
        strange = predicted.join(wanted, on="case_id", how="anti")
        if len(strange):
            raise MedaiError(f"case {strange['case_id'][0]!r} is not among the sealed test cases ({len(strange)} such); leave it out")
        if predicted["case_id"].n_unique() < len(predicted):
            raise MedaiError("a sealed case is predicted twice; give one row a case")
        missing = len(wanted) - len(predicted)
        if missing > self.terms.refusals:
            what = f"{missing} of the {len(wanted)} sealed cases are not predicted, and {self.terms.refusals} may be left out"
            raise MedaiError(f"{what}: figures on chosen cases would tell their labels; predict them all")

    def _spent(self) -> str:
        return (
            f"all {self.terms.attempts} attempts on {self.cohort.path} are spent; a rerun of an evaluated candidate gives its figures again"
        )


def _same(entry: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Whether an attempt was of the same candidate, settings and (where given) predictions."""
    return all(entry[name] == identity[name] for name in ("candidate", "settings", "predictions") if name in identity)
