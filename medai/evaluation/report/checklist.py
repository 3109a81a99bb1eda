"""What guidelines ask of a report of diagnostic accuracy, and what of it this program knows.

Items of STARD 2015 (Bossuyt et al., BMJ 2015;351:h5527), CLAIM (Mongan et al., Radiol Artif Intell 2020;2:e200029) and TRIPOD+AI
(Collins et al., BMJ 2024;385:e078378). STARD-AI (Sounderajah et al., Nat Med 2025) builds on STARD 2015; a topic that it adds is
marked ``AI``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import count
from medai.evaluation.report.method import figure_keys
from medai.evaluation.report.sentence import origin
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words

DONE, PART, AUTHORS = "done", "part", "authors"
Answer = tuple[str, str]  # status and key of the sentence


@dataclass(frozen=True)
class Item:
    """A topic, its items in the three guidelines, and what the report says to it."""

    topic: str
    stard: str
    claim: str
    tripod: str
    status: str
    answer: str


class Known:
    """What the program knows of an evaluation, asked item by item."""

    def __init__(self, evaluation: Evaluation, context: ReportContext, pictures: bool, words: Words) -> None:
        self._metrics, self._labels, self._context, self._pictures, self._words = (
            evaluation.metrics,
            evaluation.labels,
            context,
            pictures,
            words,
        )
        self._found = evaluation.metrics.get("flow", {}).get("found", context.cohort.found) is not None
        self._keys, self._columns = figure_keys(evaluation.metrics), set(evaluation.table.columns)

    def flow(self) -> Answer:
        return (DONE, self._words["k_flow"]) if self._found else (PART, self._words["k_flow_part"])

    def use(self) -> Answer:
        return (PART, self._context.intended_use) if self._context.intended_use else self._authors()

    def objective(self) -> Answer:
        return (DONE, self._context.objective) if self._context.objective else (PART, self._words["k_abstract"])

    def eligibility(self) -> Answer:
        return (PART, self._words["k_eligibility"]) if self._found else self._authors()

    def setting(self) -> Answer:
        rows = self._metrics["groups"].get("site", ())
        sites = [self._words.group("site", row["value"]) for row in rows]
        return (PART, self._words["k_sites"].format(sites=self._words.join(sites))) if sites else self._authors()

    def model(self) -> Answer:
        return (PART, self._words["k_model"]) if self._context.model else self._authors()

    def reference(self) -> Answer:
        meanings = [f"{spoken(label.name)}: {label.meaning}" for label in self._labels if label.meaning]
        return (PART, " ".join(meanings[:5])) if meanings else self._authors()

    def threshold(self) -> Answer:
        if not any(label.kind == "binary" for label in self._labels):
            return DONE, self._words["m_argmax"]
        status = DONE if self._context.threshold_origin else PART
        return status, self._words["k_threshold"].format(origin=origin(self._context, self._words))

    def failed(self) -> Answer:
        known = self._context.cohort.quarantined is not None or "refused" in self._metrics.get("flow", {})
        return (DONE, self._words["k_failed"]) if known else self._authors()

    def missing(self) -> Answer:
        unknown = [record["unknown"] for record in self._metrics["labels"].values()]
        if not unknown:
            return self._authors()
        total = count(sum(value or 0 for value in unknown), self._words)
        return DONE, self._words["k_missing"].format(count=total)

    def groups(self) -> Answer:
        columns = [self._words.column(column) for column in self._metrics["groups"]]
        return (DONE, self._words["k_groups"].format(columns=self._words.join(columns))) if columns else self._authors()

    def fairness(self) -> Answer:
        if self._metrics.get("subgroups", {}).get("gaps"):
            return DONE, self._words["k_fairness"]
        return (PART, self._words["k_fairness_part"]) if self._metrics["groups"] else self._authors()

    def size(self) -> Answer:
        return (DONE, self._words["k_size"]) if self._metrics.get("precision") else self._authors()

    def people(self) -> Answer:
        known = {"age_years", "sex"} & self._columns
        return ((DONE if len(known) == 2 else PART), self._words["k_people"]) if known else self._authors()

    def matrix(self) -> Answer:
        return (
            (DONE, self._words["k_matrix"])
            if self._metrics["labels"] and not self._metrics.get("seal")
            else (PART, self._words["k_sealed"])
        )

    def estimates(self) -> Answer:
        fields = {"confidence": f"{self._metrics['confidence'] * 100:.0f}"}
        return (DONE, self._words["k_estimates"].format(**fields)) if self._metrics["labels"] else (PART, self._words["k_sealed"])

    def calibration(self) -> Answer:
        return (DONE, self._words["k_calibration"]) if "ece" in self._keys else self._authors()

    def utility(self) -> Answer:
        return (DONE, self._words["k_utility"]) if "decision_curve" in self._keys else self._authors()

    def failures(self) -> Answer:
        return (DONE, self._words["k_failures"]) if self._pictures else self._authors()

    def explained(self) -> Answer:
        return (DONE, self._words["k_explained"]) if self._context.maps else self._authors()

    def partition(self) -> Answer:
        fields = {"split": self._words.split(self._context.split), "cohort": self._context.cohort.name}
        return (PART, self._words["k_partition"].format(**fields)) if self._context.cohort.hash else self._authors()

    def software(self) -> Answer:
        said = self._words.join([f"{name} {value}" for name, value in self._context.versions.items()])
        return (DONE, said) if said else self._authors()

    def available(self) -> Answer:
        return (PART, self._words["k_available"]) if self._context.cohort.hash else self._authors()

    def holdout(self) -> Answer:
        if self._metrics.get("seal"):
            return DONE, self._words["k_seal"]
        looks = self._context.looks_at_test
        return (DONE, self._words["k_looks"].format(count=count(looks))) if looks is not None else self._authors()

    def title(self) -> Answer:
        return DONE, self._words["k_title"]

    def summary(self) -> Answer:
        return DONE, self._words["k_abstract"]

    def methods(self) -> Answer:
        return DONE, self._words["k_methods"]

    def limits(self) -> Answer:
        return PART, self._words["k_limits"]

    def authors(self) -> Answer:
        return self._authors()

    def _authors(self) -> Answer:
        return AUTHORS, ""


ITEMS: tuple[tuple[str, str, str, str, Callable[[Known], Answer]], ...] = (
    ("title", "1", "1", "1", Known.title),
    ("abstract", "2", "2", "2", Known.summary),
    ("use", "3", "3", "3a, 3b", Known.use),
    ("objectives", "4", "4, 6", "4", Known.objective),
    ("design", "5", "5", "5a", Known.authors),
    ("eligibility", "6, 7", "8", "6b", Known.eligibility),
    ("setting", "8", "7", "5b, 6a", Known.setting),
    ("sampling", "9", "10", "", Known.authors),
    ("preparation", "", "9, 11, 12", "7, 9", Known.authors),
    ("model", "10a", "22", "12c, 22", Known.model),
    ("training", "AI", "24\u201327", "12b, 13, 21, 24", Known.authors),
    ("software", "AI", "23", "12g", Known.software),
    ("partition", "AI", "20, 21", "12a", Known.partition),
    ("holdout", "AI", "", "12a", Known.holdout),
    ("reference", "10b", "14, 16\u201318", "8a, 8b", Known.reference),
    ("rationale", "11", "15", "8a", Known.authors),
    ("threshold", "12a", "", "15", Known.threshold),
    ("blinding", "13a, 13b", "", "8c", Known.authors),
    ("methods", "14", "28, 29", "12e", Known.methods),
    ("failed", "15", "", "27a", Known.failed),
    ("missing", "16", "13", "11", Known.missing),
    ("groups", "17", "30", "12d", Known.groups),
    ("size", "18", "19", "10", Known.size),
    ("flow", "19", "33", "20a", Known.flow),
    ("people", "20", "34", "20b", Known.people),
    ("severity", "21a, 21b", "", "", Known.authors),
    ("interval", "22", "", "", Known.authors),
    ("matrix", "23", "35", "", Known.matrix),
    ("estimates", "24", "36", "23a", Known.estimates),
    ("calibration", "", "", "12e, 23a", Known.calibration),
    ("utility", "", "", "12e", Known.utility),
    ("fairness", "AI", "", "14, 23a", Known.fairness),
    ("failures", "AI", "37", "", Known.failures),
    ("explained", "", "31", "", Known.explained),
    ("external", "AI", "32", "16", Known.authors),
    ("harm", "25", "", "", Known.authors),
    ("limits", "26", "38", "26", Known.limits),
    ("implications", "27", "39", "25, 27", Known.authors),
    ("registration", "28", "40", "18d", Known.authors),
    ("protocol", "29", "41", "18c", Known.authors),
    ("available", "AI", "", "18e, 18f", Known.available),
    ("funding", "30", "42", "18a, 18b", Known.authors),
    ("ethics", "", "", "17, 19", Known.authors),
)


def checklist(evaluation: Evaluation, context: ReportContext, pictures: bool, words: Words) -> tuple[Item, ...]:
    """The topics of the guidelines with what the report says to each.

    Args:
        evaluation: From `evaluate`.
        context: The words around it.
        pictures: Whether the report shows single cases.
        words: The language.
    """
    known = Known(evaluation, context, pictures, words)
    return tuple(Item(words[f"t_{key}"], stard, claim, tripod, *ask(known)) for key, stard, claim, tripod, ask in ITEMS)
