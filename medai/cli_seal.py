"""Commands of a sealed test set: `medai seal | audit-ledger`."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from medai.cli_parser import Parser
from medai.core.error import MedaiError


def seal(arguments: list[str]) -> int:
    """`medai seal COHORT --key FILE --metric auroc:LABEL --attempts N …`."""
    parser = Parser(
        prog="medai seal",
        description="Encrypt the labels of a cohort's test set, declare how it will be evaluated, and begin its ledger. The terms cannot "
        "be changed afterwards. Keep the key and the folder KEY.register beside it where only the evaluator can read them.",
    )
    parser.add_argument("cohort", type=Path, help="the cohort: a folder that medai ingest has filled")
    parser.add_argument("--key", type=Path, required=True, help="the evaluator's key, outside the cohort; made if it does not exist")
    parser.add_argument("--metric", required=True, metavar="METRIC:LABEL", help="the primary metric, such as auroc:pneumonia")
    parser.add_argument("--attempts", type=int, required=True, help="how many evaluations may be released")
    parser.add_argument(
        "--margin",
        type=float,
        help="margin of non-inferiority in the primary metric, for comparisons with reference=; without it none is made",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="operating point of a label (else the candidate's frozen one)",
    )
    parser.add_argument("--ladder", type=float, metavar="ETA", help="release the primary metric alone, and only where it is better by ETA")
    parser.add_argument("--refusals", type=int, default=0, help="how many cases a candidate may refuse to score (0)")
    chosen = parser.parse_args(arguments)
    from medai.cohort.cohort import Cohort
    from medai.seal.seal import seal_cohort
    from medai.seal.terms import Terms, primary_of

    metric, label = primary_of(chosen.metric)
    thresholds = _thresholds(chosen.threshold)
    terms = Terms(metric, label, chosen.attempts, chosen.margin, thresholds, chosen.ladder, chosen.refusals)
    sealed = seal_cohort(Cohort.open(chosen.cohort), chosen.key, terms)
    print(f"sealed       {sealed.cases:,} test cases of {chosen.cohort}: {terms.primary}, {terms.attempts} attempts")
    if terms.ladder is None:
        print(f"no ladder    {_without_ladder(terms.attempts, sealed.cases)}")
    print(f"key          {chosen.key} and {chosen.key}.register: back them up together; other copies of the labels are yours to remove")
    print(f"next         medai evaluate candidate=… seal_key={chosen.key}")
    print(f"             medai audit-ledger {chosen.cohort} --key {chosen.key}")
    return 0


def _without_ladder(attempts: int, cases: int) -> str:
    """What a budget allows where every figure is released; see docs/sealed.md.

    What is learned from k figures adds up to sqrt(k) standard errors of the AUROC of a model that knows nothing. One is sqrt(1 / (3 n))
    of n cases at least, where half of them are events: how many are is not told here.
    """
    gain = min(0.5, math.sqrt(attempts / (3 * cases)))
    what = f"{attempts} adaptive attempts can lift a useless model's AUROC by {gain:.2g} or more, a good one's by a part of it"
    return f"{what}; --ladder ETA prevents it"


def audit_ledger(arguments: list[str]) -> int:
    """`medai audit-ledger COHORT --key FILE`: exit code 2 where something does not hold."""
    parser = Parser(
        prog="medai audit-ledger",
        description="Check a sealed test set: its ledger against the register beside the key, every file against the seal.",
        epilog="Exit code: 0 where all holds, 2 where something does not.",
    )
    parser.add_argument("cohort", type=Path, help="the sealed cohort")
    parser.add_argument("--key", type=Path, required=True, help="the evaluator's key")
    parser.add_argument("--result", type=Path, help="a metrics.json that claims to come from this test set")
    parser.add_argument("--noted", metavar="N:HASH", help="the note of an earlier audit, kept elsewhere: shows a ledger that was put back")
    parser.add_argument("--adopt", action="store_true", help="the register beside the key was lost: go on with the ledger as it is found")
    chosen = parser.parse_args(arguments)
    from medai.cohort.cohort import Cohort
    from medai.seal.audit import adopt_ledger
    from medai.seal.audit import audit_ledger as audited

    cohort = Cohort.open(chosen.cohort)
    if chosen.adopt:
        adopt_ledger(cohort, chosen.key)
    audit = audited(cohort, chosen.key, result=chosen.result, noted=chosen.noted)
    terms = audit.seal.terms
    print(f"{'time':<21} {'attempt':<8} {'candidate':<17} {'kind':<11} {terms.primary}")
    for entry in audit.attempts:
        best = "not known" if entry["best"] is None else f"{entry['best']:.4g}"
        told = best if entry["released"] else f"no better than {best}"
        if "reference" in entry:
            told = f"{entry['conclusion'] or 'withheld'} against {entry['reference'][:16]}"
        print(f"{entry['time']:<21} {entry['attempt']:<8} {entry['candidate'][:16]:<17} {entry['candidate_kind']:<11} {told}")
    failed = f", {audit.failed} of them failed with the labels open" if audit.failed else ""
    print(f"\n{len(audit.attempts)} of {terms.attempts} attempts spent, {audit.unfinished} evaluations begun and not finished{failed}")
    for finding in audit.findings:
        print(f"WRONG  {finding}")
    if not audit.findings:
        print(f"all {len(audit.entries)} lines of the ledger hold, and every file is what was sealed")
        print(f"note         {audit.note}: keep it elsewhere, and give it to a later audit with --noted")
    return 2 if audit.findings else 0


def _thresholds(given: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in given:
        label, equals, value = text.rpartition("=")
        try:
            found[label] = float(value)
        except ValueError:
            equals = ""
        if not (label and equals):
            raise MedaiError(f"--threshold is {text!r}; expected LABEL=VALUE, such as pneumonia=0.4")
    return found


SEAL: dict[str, Callable[[list[str]], int]] = {"seal": seal, "audit-ledger": audit_ledger}
