"""The words of a comparison: names of the metrics, sentences about each difference, and the methods that were used."""

from collections.abc import Mapping, Sequence
from typing import Any

from medai.evaluation.comparison.verdict import BETTER, NON_INFERIOR, NOT_KNOWN, WORSE

NAMES = {
    "auroc": "AUROC", "average_precision": "Average precision", "brier": "Brier score", "sensitivity": "Sensitivity",
    "specificity": "Specificity", "accuracy": "Accuracy", "macro_auroc": "Macro AUROC",
    "macro_average_precision": "Macro average precision", "quadratic_kappa": "Quadratic kappa", "c_index": "C-index",
}  # fmt: skip
DELONG = "AUROCs on the same cases are compared by DeLong's test (DeLong et al. 1988)."
OBUCHOWSKI = "AUROCs are compared by DeLong's test in Obuchowski's form (1997), since patients have several cases."
TANGO = "Differences of proportions have Tango's score interval (1998) and McNemar's exact test."
TANGO_CLUSTERED = (
    "Differences of proportions have Tango's score interval (1998) with the effective sample size by patient, and McNemar's test "
    "for clustered pairs (Yang, Sun and Hardin 2010)."
)
DRAWN = (
    "Other figures: percentile bootstrap of patients ({replicates:,} replicates, seed {seed}) and a permutation test "
    "({permutations:,} swaps)."
)
HOLM = (
    "p-values of one metric, over all labels and pairs of models, are adjusted by Holm (1979); verdicts go by them at a level of {level:g}."
)
MARGIN = (
    "Non-inferiority: one-sided test at {half:g}, adjusted by Holm, that {metric} is worse than that of the reference by less than the "
    "declared margin of {margin:g}."
)
NOT_SHOWN_MEANS = "\u201cNot shown\u201d means that these cases prove neither a difference nor its absence."


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, and a true minus."""
    if value is None:
        return "\u2013"
    text = f"{value:+.{digits}f}"
    return "0." + "0" * digits if float(text) == 0 else text.replace("-", "\u2212")


def counted(count: int, what: str) -> str:
    """``1 case``, ``1,204 cases``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def p_value(p: float | None) -> str:
    """A p-value of three digits, or a bound."""
    if p is None:
        return "\u2013"
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def interval_text(figure: Mapping[str, Any], *, sign: bool = False) -> str:
    """``0.812 (0.780 to 0.841)``, or the value alone where there is no interval."""
    said = signed if sign else lambda value: "\u2013" if value is None else f"{value:.3f}".replace("-", "\u2212")
    if figure["value"] is None or figure["low"] is None:
        return str(said(figure["value"]))
    return f"{said(figure['value'])} ({said(figure['low'])} to {said(figure['high'])})"


def sentence(row: Mapping[str, Any], label: str, confidence: float) -> str:
    """What a row of the table of differences says."""
    model, reference = row["model"], row["reference"]
    name = NAMES[row["metric"]]
    name = name if name.startswith(("AUROC", "C-index", "Brier")) else name[0].lower() + name[1:]
    margin = row.get("non_inferiority")
    limit = f" at the declared margin of {margin['margin']:g}" if margin else ""
    if row["verdict"] == NOT_KNOWN:
        return f"{label}: the {name} of {model} and {reference} could not be compared ({row.get('reason') or 'no test'})."
    said = {
        BETTER: f"{model} is better than {reference} in {name}",
        WORSE: f"{model} is worse than {reference} in {name}",
        NON_INFERIOR: f"{model} is not inferior to {reference} in {name}{limit}",
    }.get(
        row["verdict"], f"no difference of {model} and {reference} in {name} is shown" + (f", nor non-inferiority{limit}" if margin else "")
    )
    facts = [f"difference {signed(row['value'])}"]
    if row["low"] is not None:
        facts.append(f"{confidence:.0%} CI {signed(row['low'])} to {signed(row['high'])}")
    within = row["verdict"] == NON_INFERIOR
    p = p_value(margin["p_holm"] if within and margin else row["p_holm"])
    facts.append(("one-sided p " if within else "p ") + (p if p.startswith("<") else f"= {p}").replace(" ", "\u00a0"))
    return f"{label}: {said} ({', '.join(facts)})."


def methods(record: Mapping[str, Any]) -> list[str]:
    """How the comparison was made, from its record."""
    kinds = {each["kind"] for each in record["labels"].values()}
    metrics = {row["metric"] for each in record["labels"].values() for row in each["differences"]}
    repeat, level = record["patients"]["repeat"], 1 - record["confidence"]
    said = [str(record["patients"]["note"])]
    if "binary" in kinds:
        said.append(OBUCHOWSKI if repeat else DELONG)
    if metrics & {"sensitivity", "accuracy"}:
        said.append(TANGO_CLUSTERED if repeat else TANGO)
    said.append(DRAWN.format(**{key: record[key] for key in ("replicates", "seed", "permutations")}))
    said.append(HOLM.format(level=round(level, 10)))
    if record["margin"] is not None:
        metric = NAMES.get(record["metric"], record["metric"])
        said.append(MARGIN.format(half=round(level / 2, 10), metric=metric, margin=record["margin"]))
    return [*said, NOT_SHOWN_MEANS]


def terminal(record: Mapping[str, Any]) -> str:
    """The comparison as text: the models' primary figures, and the differences in them."""
    lines: list[str] = []
    for name, each in sections(record):
        rows = [row for row in each["differences"] if row["primary"]] or each["differences"][:1]
        if not rows:
            continue
        metric = rows[0]["metric"]
        events = f", {counted(each['events'], 'event')}" if "events" in each else ""
        lines += ["", f"{name}  ({counted(each['n'], 'case')}{events})", f"  {NAMES[metric]}"]
        lines += _columns([(f"    {model}", interval_text(figures[metric]), "", "", "") for model, figures in each["models"].items()])
        lines.append("  Difference")
        lines += _columns([
            (f"    {row['model']} \u2212 {row['reference']}", interval_text(row, sign=True), f"p {p_value(row['p'])}",
             f"Holm {p_value(row['p_holm'])}", row["verdict"]) for row in rows
        ])  # fmt: skip
    if record["notes"]:
        lines += ["", *record["notes"]]
    return "\n".join(lines).lstrip("\n")


def sections(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The labels' records by name, and that of their mean, where there is one."""
    mean = [("Mean of the labels", record["macro"])] if record["macro"] else []
    return [*record["labels"].items(), *mean]


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
