"""What may be released of an evaluation on sealed labels: known aggregates only, without small cells.

A count of 1 to 10 persons is withheld (the rule of many health data holders, e.g. the "cell size" policy of the US Centers for
Medicare & Medicaid Services), with every figure that it can be worked out from: in a two by two table whose margins are known one
cell gives the others, and over groups the others give the one that is missing (see `bound`). What is not listed here is left out,
so that a figure which is added elsewhere stays inside until somebody has thought about it. Nothing of one case is ever released.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int64

from medai.core.label import Label
from medai.evaluation.group import Group
from medai.evaluation.patient import patients_of
from medai.evaluation.predictions import GROUP_COLUMNS
from medai.evaluation.subgroup_difference import adjust
from medai.evaluation.table import LabelData, label_data
from medai.evaluation.threshold import decide
from medai.seal.bound import EVENTS, TRUE, Cell, Knowledge, withhold

if TYPE_CHECKING:
    from medai.evaluation.evaluate import Evaluation

LEAST = 11  # persons; a cell of fewer is withheld, unless it is empty
DIGITS = 4  # decimals of a released figure: more would let one figure carry the truth of dozens of cases
WITHHELD = "withheld"  # in place of the method of a figure that is suppressed
FEW = f"suppressed: fewer than {LEAST} cases"
DERIVED = f"suppressed: would reveal a count below {LEAST}"
EXACT = ("threshold", "confidence", "prevalence", "margin", "seed")  # declared, not computed from labels

TOP = ("schema", "cases", "patients", "confidence", "seed", "replicates", "interval", "strata", "groups_left_out")
OF_TRUTH = (
    "prevalence", "auroc", "average_precision", "partial_auroc", "brier", "brier_skill", "brier_parts", "ece", "ece_equal_mass",
    "calibration_slope", "calibration_intercept", "calibration_in_the_large", "spiegelhalter",
)  # fmt: skip
OF_POINT = (
    "sensitivity", "specificity", "ppv", "npv", "accuracy", "likelihood_ratio_positive", "likelihood_ratio_negative", "f1", "mcc",
    "balanced_accuracy", "at_prevalence",
)  # fmt: skip
OF_CLASSES = ("macro_auroc", "weighted_auroc", "hand_till", "c_index", "ece", "brier")
OF_DECISION = ("accuracy", "quadratic_kappa", "mean_absolute_error")
COMPARED = ("auroc", "average_precision", "brier", "macro_auroc")  # of a comparison; what hangs on counts stays inside
DIFFERENCE = (
    "model", "reference", "metric", "primary", "higher_is_better", "value", "low", "high", "n", "method", "reason", "test", "p", "p_holm",
    "p_bh", "non_inferiority", "verdict",
)  # fmt: skip


def release(evaluation: "Evaluation", groups: Sequence[Group] = ()) -> tuple[dict[str, Any], list[str]]:
    """The figures of an evaluation that may leave the evaluator.

    Args:
        evaluation: On all sealed cases.
        groups: Those of its metrics, as `groups_of` gave them; without them no group is released.

    Returns:
        Metrics of the same shape, with null for what is suppressed, and the dotted names of what is left out altogether.
    """
    given = evaluation.metrics
    persons = patients_of(evaluation.table).cluster
    labels = {
        label.name: _Label(label_data(evaluation.table, label), evaluation.thresholds.get(label.name), persons, groups)
        for label in evaluation.labels
    }
    metrics: dict[str, Any] = {key: given[key] for key in TOP if key in given}
    metrics["labels"] = {name: each.record(given["labels"][name]) for name, each in labels.items()}
    clear = not any(each.few for each in labels.values())  # else the mean and the others give the one that is missing
    metrics["macro"] = given["macro"] if clear else {}
    metrics["groups"] = _groups(given["groups"], labels, groups, persons)
    tests = _adjusted(metrics["groups"], labels, groups)
    if "subgroups" in given:
        metrics["subgroups"] = _subgroups(given["subgroups"], labels, tests)
    if "comparison" in given:
        metrics["comparison"] = _comparison(given["comparison"], labels)
    rounded: dict[str, Any] = _rounded(metrics)
    return rounded, _left_out(given, rounded)


def public_table(table: pl.DataFrame) -> pl.DataFrame:
    """A table of predictions without anything of the truth: keys, groups, probabilities and logits."""
    kept = ("case_id", "patient_id", "split", *GROUP_COLUMNS)
    return table.select(name for name in table.columns if name in kept or name.startswith(("probability.", "logit.")))


def few_cases(table: pl.DataFrame, label: Label) -> bool:
    """Whether a class of the label has 1 to 10 persons, so that nothing of the label is released."""
    data = label_data(table, label)
    persons = patients_of(table).cluster[data.rows]
    counts = (len(np.unique(persons[data.target == index])) for index in range(max(2, len(label.classes))))
    return any(0 < count < LEAST for count in counts)


class _Label:
    """One label: which of its cells must not be known."""

    def __init__(self, data: LabelData, threshold: float | None, persons: Int64[np.ndarray, " n"], groups: Sequence[Group]) -> None:
        self.data, self.persons = data, persons[data.rows]
        self.binary = data.label.kind == "binary"
        self.truth = data.target == 1 if self.binary else data.target == data.probability.argmax(axis=1)
        self.called = decide(data.probability, threshold or 0.0) if self.binary else None
        everyone = np.ones(len(data.rows), dtype=bool)
        self.members = np.stack([everyone, *(group.chosen[data.rows] for group in groups)])
        self.columns = ["", *(group.column for group in groups)]
        self.hidden = self._hidden()
        self.few = (0, EVENTS) in self.hidden if self.binary else self._small_class(everyone)

    def _hidden(self) -> set[Cell]:
        small = {(place, family) for place, member in enumerate(self.members) for family in self._families() if self._small(member, family)}
        if not small:
            return set()
        knowledge = Knowledge(self.members, self.truth, self.called)
        return withhold(knowledge, small, LEAST, self.members.sum(axis=1), self.columns, self._families())

    def _families(self) -> tuple[int, ...]:
        return (EVENTS, TRUE) if self.binary else (EVENTS,)

    def _small(self, member: Bool[np.ndarray, " m"], family: int) -> bool:
        """Whether a count of the family is of 1 to 10 persons; of a two by two table any of its four."""
        cells = [self.truth, ~self.truth]
        if family == TRUE and self.called is not None:
            cells = [truth & called for truth in cells for called in (self.called, ~self.called)]
        return any(self._few(member & cell) for cell in cells)

    def _few(self, chosen: Bool[np.ndarray, " m"]) -> bool:
        return 0 < len(np.unique(self.persons[chosen])) < LEAST

    def _small_class(self, member: Bool[np.ndarray, " m"]) -> bool:
        return any(self._few(member & (self.data.target == index)) for index in range(len(self.data.label.classes)))

    def _small_confusion(self) -> bool:
        decided, classes = self.data.probability.argmax(axis=1), range(len(self.data.label.classes))
        return any(self._few((self.data.target == truth) & (decided == call)) for truth in classes for call in classes)

    def record(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The label's figures on all cases."""
        return self._binary_record(given) if self.binary else self._multiclass_record(given)

    def _binary_record(self, given: Mapping[str, Any]) -> dict[str, Any]:
        counted, decided = (0, EVENTS) not in self.hidden, (0, TRUE) not in self.hidden
        record = {key: given[key] for key in ("kind", "n", "unknown", "threshold")} | {"events": given["events"] if counted else None}
        empty = dict.fromkeys(given["confusion"])
        record["confusion"] = given["confusion"] if decided else empty
        record |= {key: given[key] if counted else _blank(given[key], FEW) for key in OF_TRUTH if key in given}
        record |= {key: given[key] if decided else _blank(given[key], DERIVED) for key in OF_POINT if key in given}
        return record | {"warning": given["warning"] if counted else "too few events"}

    def _multiclass_record(self, given: Mapping[str, Any]) -> dict[str, Any]:
        counted, decided = not self.few, not self._small_confusion() and (0, EVENTS) not in self.hidden
        record = {key: given[key] for key in ("kind", "n", "unknown")}
        record["confusion"] = given["confusion"] if decided else [[None] * len(row) for row in given["confusion"]]
        record |= {key: given[key] if counted else _blank(given[key], FEW) for key in OF_CLASSES if key in given}
        record |= {key: given[key] if decided else _blank(given[key], DERIVED) for key in OF_DECISION if key in given}
        record["classes"] = {name: self._class_record(of_class, counted, decided) for name, of_class in given["classes"].items()}
        return record | {"warning": given["warning"] if counted else "too few events"}

    @staticmethod
    def _class_record(given: Mapping[str, Any], counted: bool, decided: bool) -> dict[str, Any]:
        record: dict[str, Any] = {"events": given["events"] if counted else None}
        record |= {key: given[key] if counted else _blank(given[key], FEW) for key in ("auroc", "average_precision") if key in given}
        return record | {key: given[key] if decided else _blank(given[key], DERIVED) for key in ("sensitivity", "ppv") if key in given}

    def in_group(self, place: int, given: Mapping[str, Any], whole: bool) -> dict[str, Any]:
        """The label's figures in a group; `place` among the members, `whole` whether the group itself may be counted."""
        counted, decided = (place, EVENTS) not in self.hidden and whole, (place, self._families()[-1]) not in self.hidden and whole
        if self.binary:
            shown = dict.fromkeys(("auroc", "calibration_in_the_large"), counted) | dict.fromkeys(("sensitivity", "specificity"), decided)
        else:
            shown = {"accuracy": counted, "macro_auroc": whole and not self._small_class(self.members[place])}
        record: dict[str, Any] = {"n": given["n"] if whole else None}
        if "events" in given:
            record["events"] = given["events"] if counted else None
        record |= {key: given[key] if show else _blank(given[key], FEW) for key, show in shown.items() if key in given}
        differences = given.get("difference", {})
        return record | {
            "difference": {
                key: dict(differences[key]) if shown[key] else _blank(differences[key], FEW) for key in shown if key in differences
            }
        }

    def hides(self, column: str | None = None) -> bool:
        """Whether something of the label is withheld, in a column's groups or anywhere."""
        return any(column is None or self.columns[place] == column for place, _ in self.hidden)


def _groups(
    given: Mapping[str, Any], labels: Mapping[str, _Label], groups: Sequence[Group], persons: Int64[np.ndarray, " n"]
) -> dict[str, list[dict[str, Any]]]:
    places = {(group.column, group.value): place for place, group in enumerate(groups, start=1)}
    record: dict[str, list[dict[str, Any]]] = {}
    for column, rows in given.items():
        known = [row for row in rows if (column, row["value"]) in places]
        whole = _whole({row["value"]: groups[places[column, row["value"]] - 1].chosen for row in known}, persons)
        for row in known:
            shown, place = whole[row["value"]], places[column, row["value"]]
            figures = {name: labels[name].in_group(place, of_label, shown) for name, of_label in row["labels"].items()}
            counts = {"n": row["n"] if shown else None, "patients": row["patients"] if shown else None}
            record.setdefault(column, []).append({"value": row["value"], **counts, "labels": figures})
    return record


def _whole(chosen: Mapping[str, Bool[np.ndarray, " n"]], persons: Int64[np.ndarray, " n"]) -> dict[str, bool]:
    """Which groups of a column may be counted: a lone small one takes the next smallest with it, else it follows by subtraction."""
    counts = {value: len(np.unique(persons[cases])) for value, cases in chosen.items()}
    ranked = sorted(counts, key=lambda value: (counts[value], value))
    small = [value for value in ranked if counts[value] < LEAST]
    while small and len(small) < len(ranked) and (len(small) < 2 or sum(counts[value] for value in small) < LEAST):
        small.append(ranked[len(small)])
    return {value: value not in small for value in counts}


def _adjusted(released: Mapping[str, list[dict[str, Any]]], labels: Mapping[str, _Label], groups: Sequence[Group]) -> int:
    """Adjust the released p-values for one another, in place; give the number of tests.

    Adjusted for the withheld ones, too, they would tell of them: their number alone says which small group has ten events.
    """
    chosen = {(group.column, group.value): group for group in groups}
    return adjust([
        ((name, metric, chosen[column, row["value"]].division(labels[name].data.rows)), difference)
        for column, rows in released.items()
        for row in rows
        for name, record in row["labels"].items()
        for metric, difference in record["difference"].items()
        if difference.get("p") is not None
    ])  # fmt: skip


def _subgroups(given: Mapping[str, Any], labels: Mapping[str, _Label], tests: int) -> dict[str, Any]:
    """Worst groups and gaps only where no group of the label is withheld: else they could be of a withheld one."""
    worst = {name: record for name, record in given.get("worst", {}).items() if name in labels and not labels[name].hides()}
    gaps = {
        column: {name: record for name, record in of_column.items() if name in labels and not labels[name].hides(column)}
        for column, of_column in given.get("gaps", {}).items()
    }
    family = {"family": dict(given["family"]) | {"tests": tests}} if "family" in given else {}
    return family | {key: given[key] for key in ("caution",) if key in given} | {"worst": worst, "gaps": gaps}


def _comparison(given: Mapping[str, Any], labels: Mapping[str, _Label]) -> dict[str, Any]:
    """Differences of figures that hang on ranks or probabilities; those of counts, and the discordant pairs, stay inside."""
    kept = ("schema", "models", "reference", "cases", "patients", "confidence", "seed", "replicates", "metric", "margin", "correction")
    record: dict[str, Any] = {key: given[key] for key in kept if key in given} | {"labels": {}, "macro": {}}
    for name, of_label in given.get("labels", {}).items():
        if name not in labels or labels[name].few:
            continue
        models = {model: {key: figures[key] for key in COMPARED if key in figures} for model, figures in of_label.get("models", {}).items()}
        rows = [{key: row[key] for key in DIFFERENCE if key in row} for row in of_label.get("differences", []) if row["metric"] in COMPARED]
        facts = {key: of_label[key] for key in ("kind", "n", "unknown", "events", "thresholds") if key in of_label}
        record["labels"][name] = facts | {"models": models, "differences": rows}
    return record


def _blank(value: Any, reason: str) -> Any:
    """A figure, or what is made of figures, without its numbers; what was declared stays.

    How it was made goes, too: that a zero cell was corrected, how many replicates hold an event, or the degrees of freedom tell of
    the counts that are withheld.
    """
    if isinstance(value, Mapping):
        kept = {
            key: item
            for key, item in value.items()
            if isinstance(item, str) or key in EXACT or (key == "specificity" and isinstance(item, list))
        }
        kept |= {"method": WITHHELD} if "method" in kept else {}
        blank = {key: _blank(item, reason) if isinstance(item, Mapping | list) else None for key, item in value.items() if key not in kept}
        return {key: kept.get(key, blank.get(key)) for key in value} | {"reason": reason}
    return [_blank(item, reason) for item in value] if isinstance(value, list) else None


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: item if key in EXACT and not isinstance(item, Mapping) else _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def _left_out(given: Mapping[str, Any], released: Mapping[str, Any]) -> list[str]:
    """What the evaluation has and the release has not, by dotted names; of labels, what any of them lacks."""
    top = {key for key in given if key not in released}
    inside = {f"labels.*.{key}" for name, record in given["labels"].items() for key in record if key not in released["labels"][name]}
    return sorted(top | inside)
