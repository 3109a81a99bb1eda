"""What is said in words of a segmentation table: abstract, cautions, flow, methods and papers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medai.evaluation.binary import FEWEST_EVENTS
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.flow import Branch, Flow, flow_of
from medai.evaluation.report.format import count, interval, number
from medai.evaluation.report.outline import TYPICAL, typical_name
from medai.evaluation.report.sentence import cases_sentence
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words
from medai.evaluation.segmentation_table import MEASURES

PAPERS = {
    "dice": "Dice LR. Ecology 1945;26:297\u2013302.",
    "nsd": "Nikolov S, Blackwell S, Zverovitch A, et al. J Med Internet Res 2021;23:e26151.",
    "hd95": "Huttenlocher DP, Klanderman GA, Rucklidge WJ. IEEE Trans Pattern Anal Mach Intell 1993;15:850\u2013863.",
    "reloaded": "Maier-Hein L, Reinke A, Godau P, et al. Nat Methods 2024;21:195\u2013212.",
    "bootstrap": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993.",
    "welch": "Welch BL. Biometrika 1947;34:28\u201335.",
    "holm": "Holm S. Scand J Stat 1979;6:65\u201370.",
}


def outline_abstract(metrics: Mapping[str, Any], context: ReportContext, words: Words) -> list[tuple[str, list[str]]]:
    """Heading and paragraphs of each part.

    Args:
        metrics: From `evaluate_segmentation`, with empty `labels`.
        context: The words around it.
        words: The language.
    """
    named = words.join([spoken(name) for name in metrics["structures"]])
    fields = {"structures": named, "split": words.split(context.split), "cohort": context.cohort.name}
    facts = [words["a_fact"].format(name=words.phrase(name), value=words.phrase(value)) for name, value in context.model.items()]
    model = words["a_model"].format(facts=words["a_semicolon"].join(facts)) if facts else words["a_model_unknown_outlines"]
    return [
        ("objective", [context.objective or words["a_objective_outlines"].format(**fields)]),
        ("data", [cases_sentence(metrics, context, words)]),
        ("model", [*([context.intended_use] if context.intended_use else []), model]),
        ("results", [_result(name, record, metrics["confidence"], words) for name, record in metrics["structures"].items()]),
        ("limits", [*cautions(metrics, words), *(words.phrase(note) for note in context.notes), words["a_one_set"]]),
    ]


def cautions(metrics: Mapping[str, Any], words: Words) -> list[str]:
    """What to know before the figures are believed: few cases, distances that are not there, patients."""
    said = []
    for name, record in metrics["structures"].items():
        if record["n"] < FEWEST_EVENTS:
            said.append(words["w_few_outlines"].format(structure=spoken(name), n=count(record["n"], words)))
        if infinite := record.get("hd95", {}).get("infinite", 0):
            said.append(words["w_infinite"].format(structure=spoken(name), count=count(infinite, words)))
    if any("nsd" in record for record in metrics["structures"].values()):
        said.append(words["w_tolerance"])
    if not metrics["patients"]["known"] or metrics["patients"]["cases_without"]:
        said.append(words.phrase(metrics["patients"]["note"]))
    return said


def outline_flow(metrics: Mapping[str, Any], context: ReportContext, words: Words) -> Flow:
    """The flow of cases; of one structure on to whether reference and model have it."""
    flow = flow_of(metrics, context, words)
    structures = metrics["structures"]
    if len(structures) != 1:
        return flow
    name, record = next(iter(structures.items()))
    if record["missed"] is None:
        gone = ((count(record["absent_in_both"], words), words["flow_absent"]),) if record["absent_in_both"] else ()
        return replace(flow, steps=(*flow.steps[:-1], replace(flow.steps[-1], leaving=gone)))
    both, missed, invented = record["n"] - record["one_sided"], record["missed"], record["invented"]
    present, absent = (words[key].format(structure=spoken(name)) for key in ("flow_present", "flow_not_present"))
    outlined, empty = words["flow_outlined"], words["flow_empty"]
    there = ((count(both, words), outlined, True), (count(missed, words), empty, False))
    not_there = ((count(record["absent_in_both"], words), empty, True), (count(invented, words), outlined, False))
    branches = (
        Branch(count(both + missed, words), present, there),
        Branch(count(record["absent_in_both"] + invented, words), absent, not_there),
    )
    return replace(flow, branches=branches)


def outline_methods(metrics: Mapping[str, Any], words: Words) -> list[str]:
    """Sentences on the measures, on empty outlines, intervals and groups, from what was run."""
    found = [key for key in MEASURES if any(key in record for record in metrics["structures"].values())]
    said = [words[f"m_{key}"] for key in found] + [words["m_elsewhere"], words["m_empty"]]
    said += [words["m_empty_distance"]] * ("hd95" in found)
    unit = words["m_patients"] if metrics["patients"]["repeat"] else words["m_cases"]
    said.append(words["m_bootstrap"].format(unit=unit, replicates=count(metrics["replicates"]), seed=metrics["seed"]))
    said.append(words["m_percentile"].format(confidence=f"{metrics['confidence'] * 100:.0f}"))
    if metrics["family"]["tests"]:
        family = {"tests": count(metrics["family"]["tests"], words), "correction": metrics["family"]["correction"]}
        said += [words["m_subgroups"].format(**family), words["m_welch"]]
    return [*said, words.phrase(metrics["patients"]["note"])]


def outline_references(metrics: Mapping[str, Any]) -> list[str]:
    """The papers behind what was run, and no others."""
    used = {key for record in metrics["structures"].values() for key in MEASURES if key in record} | {"reloaded", "bootstrap"}
    used |= {"welch", "holm"} if metrics["family"]["tests"] else set()
    return [paper for key, paper in PAPERS.items() if key in used]


def outline_interval_methods(metrics: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Each method that made an interval, and the figures that it made, from the records themselves."""
    found: dict[str, dict[str, None]] = {}
    for record in metrics["structures"].values():
        for key in MEASURES:
            for what in ("mean", "median"):
                figure = record.get(key, {}).get(what)
                if figure and figure["low"] is not None:
                    found.setdefault(figure["method"], {})[words[f"{what}_{key}"]] = None
    return [(words.phrase(method), words.join(list(figures))) for method, figures in found.items()]


def _result(name: str, record: Mapping[str, Any], confidence: float, words: Words) -> str:
    figures = []
    for key in MEASURES:
        figure = record.get(key, {}).get(TYPICAL[key])
        if figure and figure["value"] is not None:
            value, between = number(figure["value"], key, words), interval(figure, key, confidence, words)
            figures.append(words["s_figure"].format(name=_in_sentence(typical_name(key, words), words), value=value, interval=between))
    said = [words["s_outlines"].format(structure=spoken(name), n=count(record["n"], words), figures=words["a_semicolon"].join(figures))]
    if record["missed"] is not None:
        said.append(words["s_missed"].format(missed=count(record["missed"], words), invented=count(record["invented"], words)))
    elif record["one_sided"]:
        said.append(words["s_one_sided"].format(count=count(record["one_sided"], words)))
    return words.space.join(said)


def _in_sentence(name: str, words: Words) -> str:
    return name[:1].lower() + name[1:] if words.code == "en" else name
