"""The names that `allow=[…]` may hold: hard stops that a person may override."""

from collections.abc import Iterable

from medai.core.error import MedaiError

HARD_STOPS = (
    "patient-overlap", "study-overlap", "series-overlap", "sop-instance-overlap", "case-twice", "test-pixels-in-development",
    "equal-pixels-in-validation", "kept-patients-moved", "no-audit", "seen-images", "missing-cases",
)  # fmt: skip
"""Leaks and errors of the audit; earlier splits; a cohort without an audit; a model's own images; tables with gaps."""


def check_allow(names: Iterable[str]) -> None:
    """Refuse a name that overrides nothing: a misspelt one would be found out after hours.

    Raises:
        MedaiError: there is no such hard stop.
    """
    for name in names:
        if name not in HARD_STOPS:
            raise MedaiError(f"allow has {name!r}, which overrides nothing; there are: {', '.join(HARD_STOPS)}")
