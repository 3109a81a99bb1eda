"""The sweep as one HTML page that needs nothing else."""

import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from medai.core.file import atomic_file
from medai.sweep.picture import curves, history, importance, parallel, slice_plot
from medai.sweep.record import FIGURES, MOST_ROWS, best_first
from medai.sweep.scale import short_names

SAMPLERS = {
    "tpe": "Values are drawn by the tree-structured Parzen estimator (Bergstra et al. 2011), which learns from the trials so far.",
    "random": "Values are drawn at random.",
}
PRUNERS = {
    "median": "A trial is ended early where its best validation so far is worse than the median of the others after as many.",
    "hyperband": "Trials are ended early by successive halving (Hyperband, Li et al. 2018).",
    "none": "Every trial runs to its end.",
}


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page, atomically.

    Args:
        path: The file to write.
        result: From `medai.sweep.record.record`.
    """
    html = render(result)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(result: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((resources.files("medai.sweep") / "page.html").read_text(encoding="utf-8"))
    keys = [dimension["key"] for dimension in result["space"]]
    names, ranked = short_names(keys), best_first(result["trials"], result["direction"])
    method = f"{SAMPLERS[result['settings']['sampler']]} {PRUNERS[result['settings']['pruner']]}"
    judged = f"The value of a trial is its best {FIGURES[result['monitor']]} on the validation split, and the more trials, the more "
    return template.render(
        style=(resources.files("medai.evaluation.report") / "style.css").read_text(encoding="utf-8"),
        result=result,
        subtitle=f"{FIGURES[result['monitor']]} of validation over {', '.join(names.values())}",
        cards=_cards(result),
        command=_command(result),
        history=history(result),
        curves=curves(result) if any(trial["curve"] for trial in result["trials"]) else "",
        parallel=parallel(result) if ranked else "",
        importance=importance(result) if result["importances"] else "",
        slices=[{"name": names[each["key"]], "svg": slice_plot(result, each)} for each in result["space"]],
        figure=FIGURES[result["monitor"]],
        keys=keys,
        names=list(names.values()),
        best=[{**trial, "time": duration(trial["seconds"])} for trial in ranked[:MOST_ROWS]],
        failed=[trial for trial in result["trials"] if trial["state"] == "failed"],
        method=f"{method} {judged}hopeful it is. The test split was never opened.",
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _cards(result: Mapping[str, Any]) -> list[dict[str, str]]:
    states = [trial["state"] for trial in result["trials"]]
    best, total = result["best"], sum(trial["seconds"] for trial in result["trials"])
    most = next(iter(result["importances"].items()), None)
    names = short_names([dimension["key"] for dimension in result["space"]])
    ended = f"{states.count('pruned')} ended early, {states.count('failed')} failed"
    return [
        {"name": f"Best {FIGURES[result['monitor']]}", "value": f"{best['value']:.4f}" if best else "–",
         "note": f"trial {best['trial']}" if best else "no trial ran to its end"},
        {"name": "Trials", "value": str(len(states)), "note": ended},
        {"name": "What mattered most", "value": names[most[0]] if most else "–",
         "note": f"{most[1]:.0%} of the variance" if most else "too few trials to tell"},
        {"name": "Time", "value": duration(total), "note": "of all trials together"},
    ]  # fmt: skip


def _command(result: Mapping[str, Any]) -> str:
    """The command that trains the best trial again by itself."""
    if not result["best"]:
        return ""
    start = {dimension["key"]: dimension["prefix"] for dimension in result["space"]}
    chosen = [f"{start[key]}{key}={value}" for key, value in result["best"]["values"].items()]
    return "medai train " + " ".join(shlex.quote(argument) for argument in [*result["fixed"], *chosen])
