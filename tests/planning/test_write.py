"""The plan on paper: readable, editable, and told in one line where it is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.planning.fill import filled
from medai.planning.fingerprint import fingerprint
from medai.planning.plan import Plan, draw_up
from medai.planning.sheet import nested
from medai.planning.write import read_plan, table, to_yaml, write_plan
from medai.training.range_test import RangeTest
from medai.training.settings import TrainSettings
from tests.planning.conftest import CPU, calculated

TESTED = RangeTest((1e-5, 1e-3, 1e-1), (0.7, 0.5, 0.9), (0.7, 0.5, 0.9), 2e-4, 9e-4, 1e-3)


@pytest.fixture
def plan(cohort: Callable[[str], Cohort]) -> Plan:
    return draw_up(fingerprint(cohort("findings")), CPU, calculated, test_rates=lambda values: TESTED)


def test_what_is_written_is_read_again(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "new" / "folder")
    assert read_plan(path) == read_plan(path.parent) == plan.values
    assert {file.name for file in path.parent.iterdir()} == {"plan.yaml", "plan.json", "range_test.svg"}
    record = json.loads((path.parent / "plan.json").read_text())
    assert record["fingerprint"]["train"] == 200
    assert {"key", "value", "why"} == record["choices"][0].keys()
    assert record["range_test"]["slowing"] == 9e-4


def test_every_setting_stands_below_its_reason(plan: Plan) -> None:
    lines = to_yaml(plan).splitlines()
    assert lines[0] == "# @package _global_"
    place = lines.index("  batch_size: 8")
    assert "200 training cases" in lines[place - 1]
    assert max(len(line) for line in lines) <= 140
    assert "peak learning rate 0.0009" in " ".join(lines[:6])


def test_small_numbers_and_odd_texts_keep_their_type(plan: Plan, tmp_path: Path) -> None:
    odd = [("training.optimizer.lr", 3e-5), ("training.threshold", "0.5"), ("model.note", "a: b, {c} #d"), ("training.frozen", ["stem.*"])]
    changed = replace(plan, choices=(*(replace(plan.choices[0], key=key, value=value) for key, value in odd), *plan.choices[1:]))
    assert yaml.safe_load(to_yaml(changed))["training"]["optimizer"]["lr"] == plan.values["training.optimizer.lr"]  # the later one
    first = replace(plan, choices=(*plan.choices, *changed.choices[:4]))
    assert {key: read_plan(write_plan(first, tmp_path))[key] for key, _ in odd} == dict(odd)


def test_a_reason_cannot_leave_its_comment(plan: Plan) -> None:
    hostile = replace(plan.choices[0], why="fine\nruns: elsewhere")
    tree = yaml.safe_load(to_yaml(replace(plan, choices=(hostile, *plan.choices[1:]), notes=("a\nseed: 3",))))
    assert "runs" not in tree
    assert "seed" not in tree


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("epochs: ", "epochs: many #", r"training\.epochs is 'many'; it must be a whole number"),
        ("epochs: ", "epoch: ", r"training\.epoch is unknown; there are: epochs, batch_size"),
        ("epochs: ", "epochs: 0 #", r"training\.epochs is 0; it must lie in \[1, 100000\]"),
        ("height: ", "height: null #", r"preprocessing\.height is None; it must be a whole number"),
        ("training:", "seed: 3\ntraining:", r"sets seed; a plan holds preprocessing, .*: set others on the command line"),
        ("model:", "model: [", r"cannot be read: "),
        ("model:", "network:", r"is no plan: it has no model"),
    ],
)
def test_a_wrong_edit_ends_in_one_line(plan: Plan, tmp_path: Path, old: str, new: str, line: str) -> None:
    path = write_plan(plan, tmp_path)
    path.write_text(path.read_text().replace(old, new, 1) if old != "model:" else path.read_text().replace("\nmodel:", f"\n{new}"))
    with pytest.raises(MedaiError, match=line) as caught:
        filled(TrainSettings(), nested(read_plan(path)), str(path))
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="does not exist; make one with: medai plan COHORT --output FOLDER"):
        read_plan(tmp_path / "plan.yaml")


def test_the_table_shows_key_value_and_reason_within_the_width(plan: Plan) -> None:
    lines = table(plan, 130).splitlines()
    assert max(map(len, lines[2:-4])) <= 130
    assert lines[0].startswith("findings: residual_small at ")
    row = next(line for line in lines if line.startswith("training.batch_size"))
    assert row.split()[1] == "8"
    assert "200 training cases" in row
