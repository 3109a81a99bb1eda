from typing import Any

import pytest

from medai.core.error import MedaiError
from medai.inference.settings import EvaluateSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"name what to evaluate: .*; got neither"),
        ({"predictions": ""}, r"name what to evaluate: .*; got neither"),
        ({"candidate": "a", "predictions": "b"}, r"name what to evaluate: .*; got both"),
        ({"predictions": "b", "contract": "c"}, r"contract= is for a model, and predictions= is a table of scores"),
        ({"predictions": "b", "dry_run": True}, r"dry_run= is for a model, and predictions= is a table of scores"),
        ({"candidate": "a", "language": "de"}, r"language is 'de'; allowed: en, zh, both"),
        ({"candidate": "a", "interval": "wald"}, r"interval is 'wald'; allowed: percentile, bca"),
        ({"candidate": "a", "split": "dev"}, r"split is 'dev'; allowed: train, validation, test"),
        ({"candidate": "a", "replicates": 0}, r"replicates is 0; it must be at least 1"),
        ({"candidate": "a", "prevalences": [0.1, 10]}, r"prevalences holds 10; a prevalence lies between 0 and 1"),
        ({"candidate": "a", "thresholds": {"x": 2}}, r"thresholds.x is 2; a probability lies in \[0, 1\]"),
        ({"candidate": "a", "margin": 0.05}, r"margin= is the non-inferiority margin of a comparison; name with what: reference="),
        ({"candidate": "a", "reference": "b", "margin": -0.05}, r"margin is -0.05; a non-inferiority margin lies between 0 and 1"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MedaiError, match=message) as caught:
        EvaluateSettings(**given)
    assert "\n" not in str(caught.value)


def test_the_defaults_group_by_what_the_field_reports() -> None:
    settings = EvaluateSettings(candidate="a")
    assert settings.group_by == ["site", "sex", "age_band", "manufacturer"] and settings.replicates == 2000
    assert EvaluateSettings(candidate="a").group_by is not settings.group_by
    EvaluateSettings(candidate="a", reference="b", margin=0.05, group_by=[], prevalences=[0.01])


def test_a_command_line_sets_them() -> None:
    from medai.config import settings

    words = [
        "candidate=models:/chest/1",
        "contract=v.yaml",
        "dry_run=true",
        "prevalences=[0.01,0.1]",
        "group_by=[site,site*sex]",
        "interval=bca",
    ]
    chosen = settings("evaluate", words)
    assert (chosen.candidate, chosen.contract, chosen.dry_run) == ("models:/chest/1", "v.yaml", True)
    assert chosen.prevalences == [0.01, 0.1] and chosen.group_by == ["site", "site*sex"] and chosen.interval == "bca"
