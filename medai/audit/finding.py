"""A finding of the audit, and how grave it is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ERROR, WARNING, REVIEW, NOTE = SEVERITIES = ("error", "warning", "review", "note")
NAMED = 20  # examples in the record


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: For machines, and for `allow`; kebab-case.
        severity: ``"error"`` stops ingest and training, ``"warning"`` may make a result wrong, ``"review"`` is for a person to
            look at, ``"note"`` is to be known.
        title: One sentence with the count.
        count: How many (cases, patients, pairs, as the title says).
        n: Out of how many.
        method: How it was found.
        advice: What to do.
        examples: Keyed names, at most 20.
        details: Further figures.
    """

    code: str
    severity: str
    title: str
    count: int
    n: int
    method: str
    advice: str = ""
    examples: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self) | {"examples": list(self.examples[:NAMED]), "details": dict(self.details)}


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The gravest first, else in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def plural(count: int, one: str, many: str | None = None) -> str:
    """E.g. ``1,204 patients``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
