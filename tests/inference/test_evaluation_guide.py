"""The guide docs/evaluation.md against the code."""

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cli import OVERVIEW
from medai.cli_freeze import freeze
from medai.config import settings
from medai.core.label import Label
from medai.evaluation.evaluate import evaluate
from medai.evaluation.rule import parse_rule
from tests.inference.hospital import cohort_in

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line.replace("\\\n", " ")) for line in re.findall(r"^\$ medai ((?:.*\\\n)*.*)$", GUIDE, re.MULTILINE)]


def test_the_evaluations_of_the_guide_compose() -> None:
    given = [words[1:] for words in COMMANDS if words[0] == "evaluate"]
    given += [shlex.split(line)[1:] for line in re.findall(r"`medai (evaluate (?:candidate|predictions)=[^`]*)`", GUIDE)]
    chosen = [settings("evaluate", words) for words in given]
    assert len(chosen) == 9 and any(each.margin == 0.05 and each.reference == "old" and each.pdf for each in chosen)
    assert sum(each.predictions is not None for each in chosen) == 3 and sum(each.seal_key is not None for each in chosen) == 1


def test_every_command_and_setting_of_the_guide_exists() -> None:
    assert {words[0] for words in COMMANDS} == {"precision", "seal", "audit-ledger", "evaluate", "freeze", "compare"}
    for words in COMMANDS:
        assert f"medai {words[0]}" in OVERVIEW
    known = set(vars(settings("evaluate", ["candidate=x"])))
    named = set(re.findall(r"`([a-z_]+)=", GUIDE)) - {"sensitivity", "specificity", "cost", "ppv", "tracking"}
    assert named <= known


def test_the_rules_of_the_guide_are_rules() -> None:
    table = GUIDE.split("| rule | the threshold |")[1].split("\n\n")[0]
    rules = re.findall(r"`([^`]+)`", table)
    assert len(rules) == 7
    for rule in rules:
        parse_rule(rule)


def test_the_keys_of_the_guide_are_those_of_the_record() -> None:
    random = np.random.default_rng(0)
    target = np.arange(80) % 2
    table = pl.DataFrame({"case_id": [f"c{n}" for n in range(80)], "target.x": target, "probability.x": (target + random.random(80)) / 2})
    metrics = evaluate(table, [Label("x", "binary", ("no", "yes"))], {"x": 0.5}, replicates=10).metrics
    section = GUIDE.split("| key | content | method |")[1].split("\n\n")[0]
    top: set[str] = set()
    label = set[str]()
    for row in section.splitlines()[2:]:
        names = re.findall(r"`([\w.]+)`", row.split("|")[1])
        first = names[0].startswith("labels.X.")
        (label if first else top).update(name.removeprefix("labels.X.") for name in names)
    assert set(metrics["labels"]["x"]) - {"kind", "warning"} == label - {"operating_point"}
    added = {"precision", "comparison", "seal", "flow", "candidate", "cohort", "split", "refused", "looks_at_test"}
    assert set(metrics) | added == top | {"labels"}


def test_the_guide_goes_from_a_seal_to_its_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medai.cli import main

    cohort = cohort_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    for words in (words for words in COMMANDS if words[0] in ("precision", "seal", "audit-ledger")):
        text = " ".join(words).replace("effusion", "sick").replace(" --result sealed-new/metrics.json", "")
        given = re.sub(r"(cohorts|sealed)/phantom-741d130b", f"cohorts/{cohort.path.name}", text).split()
        assert main(given) == 0
    told = capsys.readouterr().out
    assert "half-widths of 95% intervals" in told and "0 of 5 attempts spent, 0 evaluations begun and not finished" in told


def test_the_guide_freezes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = [words for words in COMMANDS if words[0] == "freeze"]
    table = tmp_path / words[1]
    table.parent.mkdir()
    target = np.arange(80) % 2
    columns = {"case_id": [f"c{n}" for n in range(80)], "target.x": target, "probability.x": target * 0.5 + 0.2}
    pl.DataFrame(columns).with_columns(split=pl.lit("validation")).write_parquet(table)  # as an evaluation writes it
    assert freeze([str(table), *words[2:]]) == 0
    assert "by sensitivity=0.9 on 80 cases" in capsys.readouterr().out


def test_the_guide_points_to_pages_that_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / link).is_file()
