"""Commands about predictions: `medai compare`."""

import argparse
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from medai.cli_parser import Parser
from medai.core.error import MedaiError

COMPARE = """\
A table is a CSV or Parquet file of predictions, or the folder of an evaluation, whose thresholds are then taken. It is named
after its file or folder, or as you say: new=scores.csv. All tables have to hold the same cases with the same truth.

  medai compare old=old.csv new=new.csv --threshold pneumonia=0.41 --margin 0.05 --output comparison
  medai compare evaluations/a evaluations/b evaluations/c --all-pairs"""


def compare(arguments: list[str]) -> int:
    """`medai compare A B …`: models on the same cases."""
    parser = Parser(
        prog="medai compare",
        description="Models on the same cases: differences with intervals, tests adjusted by Holm, and non-inferiority.",
        epilog=COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", nargs="+", metavar="[name=]table", help="predictions of a model, or the folder of its evaluation")
    parser.add_argument("--reference", help="the model that the others are compared with (the first)")
    parser.add_argument("--all-pairs", action="store_true", help="compare each two")
    parser.add_argument("--metric", default="auroc", help="the primary metric (auroc)")
    parser.add_argument("--margin", type=float, help="how much worse still counts as not inferior, declared beforehand")
    parser.add_argument(
        "--threshold", action="append", default=[], metavar="label=value", help="of all models; or model:label=value of one; repeatable"
    )
    parser.add_argument("--common", action="store_true", help="leave out cases that a table lacks, and count them")
    parser.add_argument("--replicates", type=int, default=2000, help="of the bootstrap (2000)")
    parser.add_argument("--permutations", type=int, help="swaps of the permutation test (as many as replicates); 0 leaves it out")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the permutation test (0)")
    parser.add_argument("--output", type=Path, help="folder of comparison.html and comparison.json")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    chosen = parser.parse_args(arguments)
    if chosen.all_pairs and (chosen.reference or chosen.margin is not None):
        raise MedaiError("compare: --all-pairs has no reference; leave out --reference and --margin, or --all-pairs")
    from medai.evaluation.comparison.compare import compare_tables
    from medai.evaluation.comparison.words import terminal
    from medai.evaluation.table import read_predictions

    paths = _named(chosen.tables)
    tables = {name: read_predictions(_table(path)) for name, path in paths.items()}
    thresholds = _thresholds(paths, chosen.threshold)
    reference = None if chosen.all_pairs else chosen.reference or next(iter(paths))
    record = compare_tables(
        tables, None, thresholds, reference=reference, margin=chosen.margin, metric=chosen.metric, seed=chosen.seed,
        replicates=chosen.replicates, permutations=chosen.permutations, confidence=chosen.confidence, common=chosen.common,
    )  # fmt: skip
    print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) if chosen.json else terminal(record))
    if chosen.output:
        from medai.evaluation.comparison.page import write_comparison

        page = write_comparison(record, chosen.output, datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"))
        if not chosen.json:
            print(f"\ncomparison   {page}")
    return 0


def _named(given: list[str]) -> dict[str, Path]:
    """The tables by name: as said, else after the folder of an evaluation or the file."""
    named: dict[str, Path] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        path = Path(rest) if equals and not Path(text).exists() else Path(text)
        if path == Path(text):
            file = _table(path)
            name = file.resolve().parent.name if file.name == "predictions.parquet" else path.stem
        if not name or name in named:
            raise MedaiError(f"compare: two tables are named {name!r}; name them, e.g. first={named.get(name, path)} second={path}")
        named[name] = path
    return named


def _table(path: Path) -> Path:
    return path / "predictions.parquet" if path.is_dir() else path


def _thresholds(paths: dict[str, Path], given: list[str]) -> dict[str, dict[str, float]]:
    """By model, then label: those of its evaluation, above them what is said of all models, above that what is said of it."""
    of_all: dict[str, float] = {}
    of_model: dict[str, dict[str, float]] = {name: {} for name in paths}
    for text in given:
        place, _, number = text.rpartition("=")
        model, colon, label = place.rpartition(":")
        try:
            (of_model[model] if colon else of_all)[label] = float(number)
        except (ValueError, KeyError):
            label = ""
        if not label:
            told = f"expected label=0.5, or model:label=0.5 of {', '.join(paths)}"
            raise MedaiError(f"compare: --threshold {text!r} is not understood; {told}")
    return {name: _recorded(path) | of_all | of_model[name] for name, path in paths.items()}


def _recorded(path: Path) -> dict[str, float]:
    """The thresholds of an evaluation, from its metrics; none beside a table that is no evaluation's."""
    file = path / "metrics.json"
    if not path.is_dir() or not file.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {name: float(each["threshold"]) for name, each in record["labels"].items() if "threshold" in each}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise MedaiError(f"{file} is no record of an evaluation; run medai evaluate again") from None


EVALUATION: dict[str, Callable[[list[str]], int]] = {"compare": compare}
