"""`medai freeze`: operating points, chosen on validation and frozen into a file that evaluation takes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from medai.cli_parser import Parser
from medai.core.error import MedaiError

if TYPE_CHECKING:
    import polars as pl

AS_GIVEN = "as given"  # what an evaluation records of a table that does not tell its split
EXAMPLES = """\
  medai freeze runs/…/validation/predictions.parquet --rule sensitivity=0.95
  medai freeze scores.csv --cohort cohorts/chest-1f2e3d4c --rule nodule=youden hernia=ppv=0.5@0.01
  medai freeze scores.csv --split validation --rule sensitivity=0.95 --output operating_point.json
  medai evaluate candidate=… operating_point=operating_point.json

Rules: {rules}.
A table of test predictions is refused: a threshold that saw the test set makes its figures too good. Which cases a table holds is known
from its column split, from the metrics.json of its evaluation beside it, or from a cohort that has them; else --split has to say it."""


def freeze(arguments: list[str]) -> int:
    """`medai freeze TABLE --rule RULE`."""
    from medai.evaluation.rule import RULES

    parser = Parser(
        prog="medai freeze",
        description="Choose the operating point of every binary label on validation predictions, and freeze them in a hashed file.",
        epilog=EXAMPLES.format(rules=RULES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, help="predictions on the validation cases (Parquet or CSV), with their targets")
    parser.add_argument("--rule", nargs="+", required=True, metavar="RULE", help="a rule for all labels, or LABEL=RULE for each")
    parser.add_argument("--split", help="what the cases are, where neither the table nor a cohort tells it: you answer for it")
    parser.add_argument("--cohort", type=Path, help="the cohort that the cases are of, to tell their split")
    parser.add_argument("--cohorts", type=Path, default=Path("cohorts"), help="folder of cohorts to look for the cases in (cohorts)")
    parser.add_argument("--output", type=Path, help="the file to write (operating_point.json beside the table)")
    chosen = parser.parse_args(arguments)
    from medai.evaluation.frozen_point import choose_points, write_points
    from medai.evaluation.table import infer_labels, read_predictions

    table = read_predictions(chosen.table)
    labels = infer_labels(table)
    binary = [label.name for label in labels if label.kind == "binary"]
    if not binary:
        raise MedaiError(f"{chosen.table} has no binary label; the decision of the others is the class with the highest probability")
    known = _known(chosen, table)
    points = choose_points(table, labels, _rules(chosen.rule, binary), **known)
    path = chosen.output or chosen.table.with_name("operating_point.json")
    write_points(path, points)
    for point in points.points:
        shares = [f"{name} {value:.3f}" for name, value in _reached(point.sensitivity, point.specificity) if value is not None]
        print(f"{point.label:<24} {point.threshold:.4g}  by {point.rule} on {point.cases:,} cases: {', '.join(shares)}")
    print(f"\nfrozen       {path}\nnext         medai evaluate candidate=… operating_point={path}")
    return 0


def _known(chosen: argparse.Namespace, table: "pl.DataFrame") -> dict[str, str]:
    """What is known of the cases: their split, and perhaps the hashes of cohort and model.

    Raises:
        MedaiError: they are of a test set, or nothing and nobody says what they are.
    """
    from medai.evaluation.frozen_point import known_of

    beside = {key: value for key, value in known_of(chosen.table).items() if value != AS_GIVEN}
    told = "split" in table.columns and not table["split"].null_count()  # by a column, which is checked where the points are chosen
    stated = {"split": chosen.split or "validation"} if chosen.split or told else {}
    known = stated | _recognised(chosen, table) | beside
    if "split" not in known:
        what = f"it is not known whether {chosen.table} holds validation or test cases"
        raise MedaiError(f"{what}; name their cohort with --cohort, or answer for them yourself with --split validation")
    return known


def _recognised(chosen: argparse.Namespace, table: "pl.DataFrame") -> dict[str, str]:
    """The split and the cohort of a table whose cases a cohort has; the splits of several are named together.

    Raises:
        MedaiError: a case is of a test set, or a cohort was named that lacks cases.
    """
    from medai.cohort.cohort import Cohort
    from medai.cohort.recognise import recognise

    named = [Cohort.open(chosen.cohort)] if chosen.cohort else None
    found = recognise(table["case_id"].to_list(), named or chosen.cohorts)
    if found is None:
        if named:
            raise MedaiError(f"{chosen.cohort} does not have all cases of {chosen.table}; name the cohort that they are of")
        return {}
    if "test" in found.splits:
        held = f"{found.splits['test']:,} of the {len(table):,} cases of {chosen.table} are of the test set of {found.cohort.path}"
        raise MedaiError(f"{held}; a threshold that was chosen on them makes their figures too good, so choose it on validation")
    return {"split": "+".join(sorted(found.splits)), "cohort": found.cohort.hash}


def _reached(sensitivity: float | None, specificity: float | None) -> list[tuple[str, float | None]]:
    return [("sensitivity", sensitivity), ("specificity", specificity)]


def _rules(given: list[str], labels: list[str]) -> str | dict[str, str]:
    """One rule for all, or one a label: a label's name before the first `=` makes the difference."""
    named = {name: rule for name, found, rule in (text.partition("=") for text in given) if found and name in labels}
    if not named and len(given) == 1:
        return given[0]
    if len(named) < len(given):
        raise MedaiError(f"freeze: --rule takes one rule, or LABEL=RULE for each of {', '.join(labels)}; got {' '.join(given)}")
    return named


FREEZE: dict[str, Callable[[list[str]], int]] = {"freeze": freeze}
