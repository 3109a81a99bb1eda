"""The page and its scales."""

import re
from pathlib import Path
from typing import Any

import pytest

from medai.sweep.page import duration, render
from medai.sweep.picture import _range, shown
from medai.sweep.scale import Scale, even, number, short_names

SPACE: list[dict[str, Any]] = [
    {"key": "training.optimizer.lr", "options": [], "low": 1e-4, "high": 1e-2, "log": True, "prefix": ""},
    {"key": "model", "options": ["a<b", "wide"], "low": 0, "high": 0, "log": False, "prefix": ""},
]


def _result(states: list[str], direction: str = "maximize") -> dict[str, Any]:
    trials = [
        {
            "number": number_, "state": state, "value": 0.8 + number_ / 100 if state == "complete" else None,
            "values": {"training.optimizer.lr": "0.001", "model": "a<b"}, "curve": [[10, 0.7], [20, 0.75]] if state != "failed" else [],
            "seconds": 30.0, "reason": "too <large>" if state == "failed" else "", "folder": f"runs/s/{number_}",
        }
        for number_, state in enumerate(states)
    ]  # fmt: skip
    best = next((trial for trial in reversed(trials) if trial["state"] == "complete"), None)
    return {
        "name": "a search", "monitor": "auroc", "direction": direction, "space": SPACE, "fixed": ["dataset.path='x y'"], "trials": trials,
        "settings": {"sampler": "tpe", "pruner": "median"}, "importances": {"model": 0.75, "training.optimizer.lr": 0.25} if best else {},
        "best": best and {"trial": best["number"], "value": best["value"], "values": best["values"], "folder": best["folder"]},
        "written": "2025-01-01T00:00:00Z",
    }  # fmt: skip


def test_the_page_shows_the_best_trial_and_loads_nothing() -> None:
    html = render(_result(["complete", "pruned", "failed", "complete"]))
    assert "0.8300" in html and "a&lt;b" in html and "too &lt;large&gt;" in html and "a<b" not in html
    assert not re.search(r"(src|href)=|url\(|<script", html)
    assert html.count("<svg") == 6  # history, validations, parallel, importance, two slices


def test_the_page_names_the_command_that_trains_the_best_again() -> None:
    html = render(_result(["complete"]))
    assert "medai train &#39;dataset.path=&#39;&#34;&#39;&#34;&#39;x y&#39;" in html and "training.optimizer.lr=0.001" in html


@pytest.mark.parametrize("states", [["failed"], ["pruned"], ["running"], ["complete"], ["complete"] * 40])
def test_a_page_can_be_made_of_any_trials(states: list[str]) -> None:
    assert "nan" not in render(_result(states)).lower().replace("finance", "")


def test_a_trial_that_did_not_end_is_shown_at_its_best_validation() -> None:
    trial = _result(["pruned"])["trials"][0]
    assert shown(trial, "maximize") == 0.75 and shown(trial, "minimize") == 0.7


def test_outliers_do_not_squeeze_the_picture() -> None:
    low, high = _range([0.1, 0.90, 0.91, 0.92, 0.93], "maximize")
    assert 0.7 < low < 0.9 and 0.93 < high < 1
    low, high = _range([0.3, 0.31, 0.32, 0.33, 9.0], "minimize")
    assert low < 0.3 and high < 0.5


def test_scales_place_numbers_logarithms_and_options() -> None:
    assert Scale("x", low=0, high=4).place("1") == 0.25
    assert Scale("x", low=1e-4, high=1e-2, log=True).place("0.001") == pytest.approx(0.5)
    assert [place for place, _ in Scale("x", options=("a", "b")).ticks()] == [0.25, 0.75]
    assert [text for _, text in Scale("x", low=1e-5, high=1e-1, log=True).ticks()] == ["1e-5", "1e-4", "0.001", "0.01", "0.1"]


def test_numbers_and_names_are_short() -> None:
    assert even(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [number(value) for value in (0.0001, 0.25, 320000.0, 0.0, 12.0)] == ["1e-4", "0.25", "3.2e5", "0", "12"]
    assert short_names(["a.lr", "b.lr", "seed"]) == {"a.lr": "a.lr", "b.lr": "b.lr", "seed": "seed"}
    assert [duration(seconds) for seconds in (5, 300, 36000)] == ["5 s", "5 min", "10.0 h"]


def test_the_page_is_written_to_its_place(tmp_path: Path) -> None:
    from medai.sweep.page import write_page

    write_page(tmp_path / "sweep.html", _result(["complete"]))
    assert (tmp_path / "sweep.html").read_text().startswith("<!doctype html>")
