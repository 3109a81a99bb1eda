import json
from pathlib import Path

import pytest

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.inference.looks import Looks
from tests.inference.hospital import cohort_in


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


def test_each_look_is_a_line_with_its_candidate_and_copies_of_a_list_go_on(hospital: Cohort) -> None:
    looks = Looks.open(hospital)
    assert looks.path == hospital.path.parent / "looks" / f"set-{hospital.hash[:16]}.jsonl" and looks.path.read_text() == ""
    assert [looks.count("a" * 64, "onnx"), looks.count("b" * 64, "table")] == [1, 2]
    assert Looks.open(hospital).count("a" * 64, "onnx") == 3
    lines = [json.loads(line) for line in looks.path.read_text().splitlines()]
    assert [line["candidate"][0] for line in lines] == ["a", "b", "a"] and [line["kind"] for line in lines] == ["onnx", "table", "onnx"]
    assert all(line["time"].endswith("Z") for line in lines)


def test_a_list_that_cannot_be_written_stops_the_evaluation_beforehand(hospital: Cohort) -> None:
    (hospital.path.parent / "looks").write_text("a file where the folder should be")
    with pytest.raises(MedaiError, match=r"the list of looks at the test labels, .*, cannot be written \(.*\); use a copy of the cohort"):
        Looks.open(hospital)
