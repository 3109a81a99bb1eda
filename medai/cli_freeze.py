"""`medai freeze`: operating points, chosen on validation and frozen into a file that evaluation takes."""

import argparse
from collections.abc import Callable
from pathlib import Path

from medai.cli_parser import Parser
from medai.core.error import MedaiError

EXAMPLES = """\
  medai freeze runs/…/validation/predictions.parquet --rule sensitivity=0.95
  medai freeze validation.csv --rule nodule=youden hernia=ppv=0.5@0.01 --output operating_point.json
  medai evaluate candidate=… operating_point=operating_point.json

Rules: {rules}.
A table of test predictions is refused: a threshold that saw the test set makes its figures too good."""


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
    parser.add_argument("--split", default="validation", help="what the cases are, where the table has no column split (validation)")
    parser.add_argument("--output", type=Path, help="the file to write (operating_point.json beside the table)")
    chosen = parser.parse_args(arguments)
    from medai.evaluation.frozen_point import choose_points, known_of, write_points
    from medai.evaluation.table import infer_labels, read_predictions

    table = read_predictions(chosen.table)
    labels = infer_labels(table)
    binary = [label.name for label in labels if label.kind == "binary"]
    if not binary:
        raise MedaiError(f"{chosen.table} has no binary label; the decision of the others is the class with the highest probability")
    points = choose_points(table, labels, _rules(chosen.rule, binary), **({"split": chosen.split} | known_of(chosen.table)))
    path = chosen.output or chosen.table.with_name("operating_point.json")
    write_points(path, points)
    for point in points.points:
        shares = [f"{name} {value:.3f}" for name, value in _reached(point.sensitivity, point.specificity) if value is not None]
        print(f"{point.label:<24} {point.threshold:.4g}  by {point.rule} on {point.cases:,} cases: {', '.join(shares)}")
    print(f"\nfrozen       {path}\nnext         medai evaluate candidate=… operating_point={path}")
    return 0


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
