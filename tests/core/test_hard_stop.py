"""What `allow` may name is known before any work."""

import re
from pathlib import Path

import pytest

import medai
from medai.cohort.leak import OVERRIDES
from medai.cohort.split import KEPT_MOVED
from medai.config import settings
from medai.core.error import MedaiError
from medai.core.hard_stop import HARD_STOPS
from medai.inference.table import MISSING
from medai.inference.unseen import SEEN


@pytest.mark.parametrize("command", ["ingest", "train", "evaluate"])
def test_a_name_that_overrides_nothing_is_refused_with_the_list(command: str) -> None:
    given = {"evaluate": ["candidate=x"], "train": ["dataset=phantom"], "ingest": ["dataset=phantom"]}[command]
    with pytest.raises(MedaiError, match="allow has 'foo', which overrides nothing; there are: patient-overlap, "):
        settings(command, [*given, "allow=[foo]"])
    assert settings(command, [*given, "allow=[patient-overlap]"]).allow == ["patient-overlap"]


def test_every_hard_stop_of_the_code_is_known() -> None:
    from medai.audit.overlap import NAMES

    overlaps = {f"{name.lower().replace(' ', '-')}-overlap" for name in NAMES.values()}
    assert {*OVERRIDES, KEPT_MOVED, MISSING, SEEN, "no-audit", *overlaps} <= set(HARD_STOPS)
    written = "".join(path.read_text(encoding="utf-8") for path in Path(medai.__path__[0]).rglob("*.py"))
    assert set(re.findall(r'"([a-z-]+)", ERROR,', written)) | set(re.findall(r'"([a-z-]+)" in allow', written)) <= set(HARD_STOPS)
