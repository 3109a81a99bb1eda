"""What guidelines ask of a report of diagnostic accuracy, and what of it this program knows.

The editions followed, by number and content of their items (the topics are in our own words):

- STARD 2015, 30 items in 34 parts: Bossuyt et al., BMJ 2015;351:h5527, Table 1.
- STARD-AI, 40 items in 48 parts, with numbers of its own: Sounderajah et al., Nat Med 2025;31:3283-3289, Table 2.
- CLAIM 2020, 42 items: Mongan, Moy and Kahn, Radiol Artif Intell 2020;2(2):e200029.
- CLAIM 2024 Update, 44 items, renumbered from item 11 on: Tejani et al., Radiol Artif Intell 2024;6(4):e240300.
- TRIPOD+AI, 27 items in 52 parts: Collins et al., BMJ 2024;385:e078378.

STARD 2015 was held against the text of its published table (extracted from PubMed Central PMC4623764). The others were held against
public transcriptions that agree with one another (three of STARD-AI, two each of the rest), not against the journals' own pages:
`CHECKED` says so, and the report tells its reader.
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
GUIDELINES = ("STARD 2015", "STARD-AI", "CLAIM 2020", "CLAIM 2024", "TRIPOD+AI")
CHECKED = ("STARD 2015",)  # against the published list itself
Answer = tuple[str, str]  # status and key of the sentence


@dataclass(frozen=True)
class Item:
    """A topic, its items in each of `GUIDELINES`, and what the report says to it."""

    topic: str
    numbers: tuple[str, ...]
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
        self._structures = tuple(evaluation.metrics.get("structures", {}).values())

    def flow(self) -> Answer:
        return (DONE, self._words["k_flow"]) if self._found else (PART, self._words["k_flow_part"])

    def use(self) -> Answer:
        return (PART, self._context.intended_use) if self._context.intended_use else self._authors()

    def objective(self) -> Answer:
        return (DONE, self._context.objective) if self._context.objective else (PART, self._words["k_abstract"])

    def eligibility(self) -> Answer:
        return (PART, self._words["k_eligibility"]) if self._found else self._authors()

    def setting(self) -> Answer:
        return self._values("site", "k_sites")

    def acquisition(self) -> Answer:
        return self._values("manufacturer", "k_devices")

    def model(self) -> Answer:
        return (PART, self._words["k_model"]) if self._context.model else self._authors()

    def reference(self) -> Answer:
        meanings = [f"{spoken(label.name)}: {label.meaning}" for label in self._labels if label.meaning]
        return (PART, " ".join(meanings[:5])) if meanings else self._authors()

    def threshold(self) -> Answer:
        if self._structures:
            return self._authors()
        if not any(label.kind == "binary" for label in self._labels):
            return DONE, self._words["m_argmax"]
        status = DONE if self._context.threshold_origin else PART
        return status, self._words["k_threshold"].format(origin=origin(self._context, self._words))

    def failed(self) -> Answer:
        known = self._context.cohort.quarantined is not None or "refused" in self._metrics.get("flow", {})
        return (DONE, self._words["k_failed"]) if known else self._authors()

    def missing(self) -> Answer:
        if self._structures:
            return DONE, self._words["k_holes"]
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
        if self._structures:
            known = all(record["missed"] is not None for record in self._structures)
            return (DONE if known else PART), self._words["k_outlines"]
        return (
            (DONE, self._words["k_matrix"])
            if self._metrics["labels"] and not self._metrics.get("seal")
            else (PART, self._words["k_sealed"])
        )

    def estimates(self) -> Answer:
        fields = {"confidence": f"{self._metrics['confidence'] * 100:.0f}"}
        known = self._metrics["labels"] or self._structures
        return (DONE, self._words["k_estimates"].format(**fields)) if known else (PART, self._words["k_sealed"])

    def calibration(self) -> Answer:
        return (DONE, self._words["k_calibration"]) if "ece" in self._keys else self._authors()

    def utility(self) -> Answer:
        return (DONE, self._words["k_utility"]) if "decision_curve" in self._keys else self._authors()

    def failures(self) -> Answer:
        if self._structures:
            return PART, self._words["k_lowest"]
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

    def outputs(self) -> Answer:
        if self._metrics.get("seal"):
            return PART, self._words["k_seal"]
        return DONE, self._words["k_table_hash" if self._structures else "k_outputs"]

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

    def _values(self, column: str, key: str) -> Answer:
        """The values of a column, by which the cases are grouped."""
        values = self._words.join([self._words.group(column, row["value"]) for row in self._metrics["groups"].get(column, ())])
        return (PART, self._words[key].format(values=values)) if values else self._authors()

    def _authors(self) -> Answer:
        return AUTHORS, ""


ITEMS: tuple[tuple[str, tuple[str, ...], Callable[[Known], Answer]], ...] = (
    ("title", ("1", "1", "1", "1", "1"), Known.title),
    ("abstract", ("2", "2", "2", "2", "2"), Known.summary),
    ("use", ("3", "3", "3", "3", "3a\u20133c"), Known.use),
    ("objectives", ("4", "4", "4, 6", "4, 6", "4"), Known.objective),
    ("design", ("5", "5", "5", "5", ""), Known.authors),
    ("eligibility", ("6, 7", "7, 8", "8", "8", "6b"), Known.eligibility),
    ("setting", ("8", "9, 11", "7", "7", "5a, 5b, 6a"), Known.setting),
    ("sampling", ("9", "10", "", "", ""), Known.authors),
    ("acquisition", ("", "13, 14", "", "13", ""), Known.acquisition),
    ("preparation", ("", "14", "9\u201312", "9\u201311", "7, 9a\u20139c, 12b"), Known.authors),
    ("model", ("10a", "15a", "22", "22", "12g, 22"), Known.model),
    ("users", ("", "15d", "", "", "27a, 27b"), Known.authors),
    ("training", ("", "15b", "24\u201327", "24\u201327", "12c, 12f, 13, 21, 24"), Known.authors),
    ("software", ("", "13", "23", "23", ""), Known.software),
    ("partition", ("", "15b", "20, 21", "19, 20", "12a"), Known.partition),
    ("holdout", ("", "", "", "", "12a"), Known.holdout),
    ("reference", ("10b, 12b", "12, 16a, 16c", "14, 16\u201318", "14, 16\u201318", "8a, 8b"), Known.reference),
    ("rationale", ("11", "16b", "15", "15", "8a"), Known.authors),
    ("threshold", ("12a", "15c", "", "", "15"), Known.threshold),
    ("blinding", ("13a, 13b", "17a, 17b", "", "", "8c"), Known.authors),
    ("methods", ("14", "18", "28, 29", "28, 29", "12e"), Known.methods),
    ("failed", ("15", "19", "", "", ""), Known.failed),
    ("missing", ("16", "20", "13", "12", "11"), Known.missing),
    ("groups", ("17", "21", "", "", "12d, 23b"), Known.groups),
    ("robustness", ("", "", "30", "30", ""), Known.authors),
    ("size", ("18", "22", "19", "21", "10"), Known.size),
    ("flow", ("19", "24", "33", "35", "20a"), Known.flow),
    ("people", ("20", "25", "34", "36", "20b"), Known.people),
    ("severity", ("21a, 21b", "26a, 26b", "", "", ""), Known.authors),
    ("interval", ("22", "27", "", "", "6c"), Known.authors),
    ("matrix", ("23", "30", "", "", ""), Known.matrix),
    ("estimates", ("24", "31", "35, 36", "37, 38", "23a"), Known.estimates),
    ("calibration", ("", "", "", "", "12e"), Known.calibration),
    ("utility", ("", "", "", "", "12e"), Known.utility),
    ("fairness", ("", "23", "", "", "14"), Known.fairness),
    ("failures", ("", "23", "37", "39", ""), Known.failures),
    ("explained", ("", "", "31", "31", ""), Known.explained),
    ("external", ("", "28, 29", "32", "32, 33", "16, 20c"), Known.authors),
    ("harm", ("25", "32", "", "", ""), Known.authors),
    ("limits", ("26", "33", "38", "40", "26"), Known.limits),
    ("implications", ("27", "34", "39", "41", "25, 27c"), Known.authors),
    ("registration", ("28", "36", "40", "34", "18d"), Known.authors),
    ("protocol", ("29", "37", "41", "42", "18c"), Known.authors),
    ("outputs", ("", "40b", "", "", ""), Known.outputs),
    ("available", ("", "40a", "", "43", "18e, 18f"), Known.available),
    ("funding", ("30", "38, 39", "42", "44", "18a, 18b"), Known.authors),
    ("ethics", ("", "6, 35", "", "", "17, 19"), Known.authors),
)


def checklist_note(words: Words) -> str:
    """Which editions the numbers are of, and which of them are still to be checked against the published list."""
    unchecked = [name for name in GUIDELINES if name not in CHECKED]
    return words["checklist_note"].format(checked=words.join(list(CHECKED)), unchecked=words.join(unchecked))


def checklist(evaluation: Evaluation, context: ReportContext, pictures: bool, words: Words) -> tuple[Item, ...]:
    """The topics of the guidelines with what the report says to each.

    Args:
        evaluation: From `evaluate`.
        context: The words around it.
        pictures: Whether the report shows single cases.
        words: The language.
    """
    known = Known(evaluation, context, pictures, words)
    return tuple(Item(words[f"t_{key}"], numbers, *ask(known)) for key, numbers, ask in ITEMS)
