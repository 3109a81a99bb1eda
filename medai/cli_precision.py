"""`medai precision`: the widths and the power that a test set will buy, before its labels are opened."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.cli_parser import Parser
from medai.core.error import MedaiError

if TYPE_CHECKING:
    from medai.cohort.cohort import Cohort

ASSUMED = ("auroc", "sensitivity", "specificity")
EXAMPLES = """\
  medai precision cohorts/chest-1f2e3d4c                        counts of the test part, prevalences of development
  medai precision --cases 35000 --prevalence nodule=0.05 hernia=0.002
  medai precision --cases 2000 --prevalence 0.1 --auroc 0.9 --reference 0.87 --power 0.9
  medai precision --cases 500 --patients 300 --icc 0.7 --prevalence 0.1 --simulate 500 --half-width 0.03

The test labels are not read. Planned half-widths assume that the truth is as assumed; no interval is guaranteed."""


def precision(arguments: list[str]) -> int:
    """`medai precision [COHORT]`: print the plan, with --output write it as JSON."""
    chosen = _parser().parse_args(arguments)
    prevalence = _prevalences(chosen.prevalence)
    cases, patients = chosen.cases, chosen.patients
    if chosen.cohort is not None:
        from medai.cohort.cohort import Cohort

        opened = Cohort.open(chosen.cohort)
        of_test, of_patients = counts_of_test(opened)
        cases, patients = cases or of_test, patients or of_patients
        prevalence = prevalence or development_prevalences(opened)
    if not cases or not prevalence:
        raise MedaiError("precision: name a cohort, or --cases N and --prevalence P (medai precision --help)")
    from medai.evaluation.precision_plan import precision as plan_of

    plan = plan_of(
        prevalence, cases, patients, auroc=chosen.auroc, sensitivity=chosen.sensitivity, specificity=chosen.specificity, icc=chosen.icc,
        correlation=chosen.correlation, power=chosen.power, half_width=chosen.half_width, reference=chosen.reference,
        confidence=chosen.confidence, simulations=chosen.simulate, seed=chosen.seed,
    )  # fmt: skip
    print(plan_text(plan))
    if chosen.output:
        from medai.core.file import write_json

        write_json(chosen.output, plan)
        print(f"\nplan         {chosen.output}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="medai precision",
        description="What interval widths and what power a test set buys, from its counts and assumptions alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cohort", nargs="?", type=Path, help="a cohort: its test part is counted, its test labels stay closed")
    parser.add_argument("--cases", type=int, help="cases of the test set")
    parser.add_argument("--patients", type=int, help="its patients (one a case)")
    parser.add_argument("--prevalence", nargs="+", metavar="[LABEL=]P", help="assumed share of positives, of one or several labels")
    for name in ASSUMED:
        parser.add_argument(f"--{name}", type=float, default=0.9, help=f"assumed {name} (0.9)")
    parser.add_argument("--icc", type=float, default=0.5, help="how alike cases of a patient are, from 0 to 1 (0.5)")
    parser.add_argument("--correlation", type=float, default=0.5, help="between the AUROCs of two models on the same cases (0.5)")
    parser.add_argument("--power", type=float, default=0.8, help="for the smallest detectable AUROC and difference (0.8)")
    parser.add_argument("--half-width", type=float, help="of the AUROC's interval: how many cases reach it?")
    parser.add_argument("--reference", type=float, metavar="AUROC", help="of another model on the same cases: what power tells them apart?")
    parser.add_argument("--confidence", type=float, default=0.95, help="coverage of the intervals (0.95)")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="check the formulas by N simulated test sets a label")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (0)")
    parser.add_argument("--output", type=Path, help="write the plan as JSON into this file")
    return parser


def counts_of_test(cohort: "Cohort") -> tuple[int, int]:
    """Cases and patients of the test part, from the table of cases; a case without a patient counts as one of its own.

    Raises:
        MedaiError: there is no test part.
    """
    import polars as pl

    cases = cohort.cases().filter((pl.col("partition") == "test") & pl.col("exclusion").is_null())
    if cases.is_empty():
        raise MedaiError(f"{cohort.path} has no test part; name the size of the test set by --cases and --patients")
    keys = cases["patient_id"]
    return len(cases), keys.drop_nulls().n_unique() + keys.null_count()


def development_prevalences(cohort: "Cohort") -> dict[str, float]:
    """Share of each binary label, or of each class against the rest, among the development cases that the record counts.

    Raises:
        MedaiError: no label has both classes there.
    """
    found: dict[str, float] = {}
    for label in cohort.labels:
        counts = cohort.counts["development_labels"][label.name]
        known = sum(counts[name] for name in label.classes)
        of_class = (
            {label.name: counts[label.classes[1]]} if label.kind == "binary" else {f"{label.name}.{n}": counts[n] for n in label.classes}
        )
        found |= {name: number / known for name, number in of_class.items() if 0 < number < known}
    if not found:
        raise MedaiError(f"no label of {cohort.path} has both classes in development; name prevalences by --prevalence LABEL=P")
    return found


def _prevalences(given: list[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given or []:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            raise MedaiError(f"--prevalence {text!r} is no number; expected e.g. 0.05 or nodule=0.05") from None
        name = name or f"prevalence {share:g}"
        if name in found:
            raise MedaiError(f"--prevalence names {name!r} twice")
        found[name] = share
    return found


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan as a table for the terminal."""
    level, width = f"{plan['confidence']:.0%}", max(12, *(len(name) for name in plan["labels"]))
    one = next(iter(plan["labels"].values()))
    assumed = ", ".join(f"{name} {figure['assumed']:g}" for name, figure in one["figures"].items())
    size = f"{plan['cases']:,} cases of {plan['patients'] or plan['cases']:,} patients, design effect {plan['design_effect']:.2f}"
    columns = ("events", "AUROC", "sens.", "spec.", "AUROC >", "differ.")
    wanted = f"  cases for ±{plan['half_width']:g}" if plan["half_width"] else ""
    against = f"  positives > 0.5  power over {plan['reference']:g}" if plan["reference"] else ""
    lines = [
        size + (f"; assumed: {assumed}" if assumed else ""),
        f"half-widths of {level} intervals; with a power of {plan['power']:.0%}, an AUROC is told from 0.5 and two models are told apart",
        "",
        " " * width + "".join(f" {column:>9}" for column in columns) + wanted + against,
    ]
    for name, record in plan["labels"].items():
        figures = record["figures"]
        cells = [_number(figures.get(figure, {}).get("half_width"), "±") for figure in ASSUMED]
        cells += [_number(record.get("detectable_auroc")), _number(record.get("detectable_difference"))]
        needed = f"{record['cases_needed']:>{len(wanted)},}" if wanted else ""
        if against:
            over = record.get("power_above_reference")
            needed += f"{record.get('positives_above_chance', '-'):>17}{'-' if over is None else f'{over:.0%}':>{len(against) - 17}}"
        lines.append(f"{name:<{width}} {record['events']:>9,}" + "".join(f" {cell:>9}" for cell in cells) + needed + _warning(record))
        if "simulated" in record:
            drawn = [_number(record["simulated"].get(figure, {}).get("half_width"), "±") for figure in ASSUMED]
            lines.append(f"{'  simulated':<{width}} {'':>9}" + "".join(f" {cell:>9}" for cell in drawn))
    return "\n".join(lines)


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{sign}{value:.4f}"


def _warning(record: Mapping[str, Any]) -> str:
    return f"   {record['warning']}" if record.get("warning") else ""


PRECISION: dict[str, Callable[[list[str]], int]] = {"precision": precision}
