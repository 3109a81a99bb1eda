"""Values on the command line."""

import random
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from medai.core.error import MedaiError
from medai.override import quote, to_override

PARSER = OverridesParser.create()


def _parses(override: str) -> bool:
    try:
        PARSER.parse_override(override)
    except HydraException:
        return False
    return True


def _value(override: str) -> object:
    """What Hydra and OmegaConf make of an override."""
    config = OmegaConf.create({"value": None})
    OmegaConf.update(config, "value", PARSER.parse_override(override).value())
    return OmegaConf.to_container(config, resolve=True)["value"]


def test_any_text_survives_quoting() -> None:
    draw = random.Random(0)
    texts = ["", "\\", "'", "a\\'", "${HOME}", "\\${x}", "a, b=(c) [d] {e}: f", "肺炎 X光/第1批", "C:\\scans\\", "null", "1e3", "true"]
    texts += ["".join(draw.choices("\\'\"${}ab ,=()[]:肺", k=draw.randint(1, 10))) for _ in range(500)]
    for text in texts:
        assert _value(f"key={quote(text)}") == text


def test_a_sweep_repeats_a_quoted_value_unchanged() -> None:
    for text in ("it's ${x}, a=b", "a\\"):
        override = PARSER.parse_override(f"key={quote(text)}")
        assert _value(f"key={override.get_value_element_as_str()}") == text


@pytest.mark.parametrize(
    "value", ["X rays (2024)/a=b, c", "肺炎/第 1 批", "it's", '"quoted"', "${HOME}/x", "a,b", "2024", "true", "[1]", "{a}", "a\\"]
)
@pytest.mark.parametrize("key", ["dataset.path", "candidate", "predictions", "runs", "name", "title"])
def test_a_path_or_a_text_is_taken_as_it_is_written(key: str, value: str) -> None:
    expected = value[1:-1] if value.startswith('"') else value  # quoted for Hydra by a user who knows it
    assert _value(to_override(f"{key}={value}", sweep=False, parses=_parses)) == expected


def test_a_file_whose_name_has_quotes_is_found(tmp_path: Path) -> None:
    (file := tmp_path / "'scans'").touch()
    assert _value(to_override(f"candidate={file}", sweep=False, parses=_parses)) == str(file)


@pytest.mark.parametrize("value", ["null", "NULL"])
def test_null_stays_null(value: str) -> None:
    assert _value(to_override(f"dataset.labels={value}", sweep=False, parses=_parses)) is None


def test_a_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/doctor")
    assert to_override("dataset.path=~/scans", sweep=False, parses=_parses) == "dataset.path='/home/doctor/scans'"


@pytest.mark.parametrize(
    "argument", ["seed=1", "model=a,b", "allow=[a,b]", "training.optimizer={lr: 1}", "~model", "+model.x=1", "seed=range(3)"]
)
def test_what_hydra_understands_is_left_alone(argument: str) -> None:
    assert to_override(argument, sweep=True, parses=_parses) == argument


def test_a_value_that_hydra_does_not_understand_is_a_text() -> None:
    assert _value(to_override("training.threshold=sensitivity=0.95", sweep=False, parses=_parses)) == "sensitivity=0.95"
    swept = to_override("training.threshold=youden,sensitivity=0.95", sweep=True, parses=_parses)
    assert swept == "training.threshold=youden,'sensitivity=0.95'"


def test_a_sweep_over_paths_is_split_at_the_commas() -> None:
    assert to_override("candidate=runs/a (1),runs/b", sweep=True, parses=_parses) == "candidate='runs/a (1)','runs/b'"


def test_a_mapping_with_keys_of_the_users_own_takes_new_ones() -> None:
    assert to_override("thresholds.pneumonia=0.3", sweep=False, parses=_parses) == "++thresholds.pneumonia=0.3"
    assert to_override("dataset.split.hold_out.site=[B]", sweep=False, parses=_parses) == "++dataset.split.hold_out.site=[B]"


@pytest.mark.parametrize(
    ("argument", "message"), [("seed", "write key=value"), ("=1", "write key=value"), ("a b=1", "not a key"), ("种子=1", "not a key")]
)
def test_what_is_no_setting_is_refused(argument: str, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        to_override(argument, sweep=False, parses=_parses)
