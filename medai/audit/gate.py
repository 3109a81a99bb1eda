"""The audit as a gate: what the cohort's record says of it, and what ingest and training ask."""

from collections.abc import Mapping, Sequence
from typing import Any

from medai.audit.audit import Audit
from medai.audit.finding import REVIEW, WARNING
from medai.core.error import MedaiError

PASSED, OVERRIDDEN = "passed", "overridden"


def gate(audit: Audit, allow: Sequence[str] = ()) -> dict[str, Any]:
    """What goes into cohort.json as ``audit``.

    Args:
        audit: Of the cohort.
        allow: Codes of errors to override.

    Raises:
        MedaiError: an error that is not overridden.
    """
    stopping = [finding for finding in audit.errors if finding.code not in allow]
    if stopping:
        more = f" (and {len(stopping) - 1} more)" if len(stopping) > 1 else ""
        first = stopping[0]
        raise MedaiError(f"the audit stops: {first.title}{more} {first.advice} To go on all the same: allow=[{first.code}]")
    near = audit.record["near_duplicates"]
    return {
        "version": audit.record["schema_version"],
        "result": OVERRIDDEN if audit.errors else PASSED,
        "errors": {finding.code: finding.count for finding in audit.errors},
        "warnings": len(audit.of(WARNING)),
        "reviews": len(audit.of(REVIEW)),
        "pairs_compared": near["pairs_compared"] if near else 0,
        "near_duplicates": near["found"] if near else None,
        "test_labels": audit.record["test_labels"],
    }


def check_audited(record: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
    """Whether a cohort may be trained on, by its record alone: no label and no pixel is read.

    Args:
        record: The content of cohort.json.
        allow: Codes of errors to override, and ``"no-audit"``.

    Raises:
        MedaiError: it was not audited, or with an override that is not named again.
    """
    said = record.get("audit")
    name = record.get("name", "the cohort")
    if not isinstance(said, Mapping) or said.get("result") not in (PASSED, OVERRIDDEN):
        if "no-audit" in allow:
            return
        raise MedaiError(f"{name} was not audited; ingest it again, or go on all the same with allow=[no-audit]")
    missing = sorted(set(said.get("errors") or {}) - set(allow))
    if missing:
        raise MedaiError(f"the audit of {name} found {', '.join(missing)}; mend the data, or name it again: allow=[{', '.join(missing)}]")
