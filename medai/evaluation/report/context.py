"""What a report has to say besides the figures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ASSUMED = re.compile(r"0\.5, since none was given for ([^;]+)|0\.5 assumed for ([^;(]+) \(")
GIVEN = re.compile(r"(?:^|; )([^;]+) given on the command line")


@dataclass(frozen=True)
class CohortSummary:
    """Where the cases come from; None where it is not known (a stranger's table).

    Attributes:
        name: E.g. ``"pneumoniamnist"``.
        hash: The cohort's content hash.
        found: Files or records that the source held.
        quarantined: Refused with a reason.
        excluded: Readable but left out.
        elsewhere: In other splits.
        analysed: Cases of this evaluation.
        patients: Patients of the analysed cases, None if unknown.
    """

    name: str
    hash: str = ""
    found: int | None = None
    quarantined: int | None = None
    excluded: int | None = None
    elsewhere: int | None = None
    analysed: int | None = None
    patients: int | None = None


@dataclass(frozen=True)
class ReportContext:
    """All the words and facts around an evaluation.

    Attributes:
        title: Heading of the report.
        cohort: Where the cases come from.
        model: Facts about the model in the order to show them, e.g. ``{"Network": "resnet18", "Weights": "3fa9..."}``.
        split: ``"test"``, ``"validation"`` or what the table is otherwise.
        threshold_origin: Where thresholds were frozen, e.g. ``"largest Youden index on validation"``.
        intended_use: One or two sentences; empty leaves the paragraph out.
        objective: What the study asks, in a sentence; empty lets the report say what it measures.
        looks_at_test: How often the held-out labels have been looked at, this time included; None if not counted.
        created: Date and time as text.
        versions: Software versions.
        notes: Further sentences, e.g. limitations.
        maps: Method of the gallery's maps, ``"gradcam"`` or ``"integrated_gradients"``; empty where there are none.
        maps_note: A sentence about them, e.g. why there are none.
    """

    title: str
    cohort: CohortSummary
    model: Mapping[str, str] = field(default_factory=dict)
    split: str = "test"
    threshold_origin: str = ""
    intended_use: str = ""
    objective: str = ""
    looks_at_test: int | None = None
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    maps: str = ""
    maps_note: str = ""

    @property
    def assumed(self) -> frozenset[str]:
        """The labels whose threshold nobody chose or gave, as `threshold_origin` tells them."""
        assumed = {name for match in ASSUMED.findall(self.threshold_origin) for name in "".join(match).split(", ")}
        return frozenset(assumed - {name for found in GIVEN.findall(self.threshold_origin) for name in found.split(", ")})
