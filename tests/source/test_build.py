"""A data set's definition is checked before it is used."""

from typing import Any

import pytest

from medai.core.error import MedaiError
from medai.source.build import build_source

FOLDER = {"_target_": "medai.source.images.ImagesSource", "name": "x"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"public": "no"}, "dataset.public is 'no'; it must be true or false"),
        ({"public": 1}, "dataset.public is 1; it must be true or false"),
        ({"targets": "pneumonia"}, "dataset.targets is 'pneumonia'; it must be a list"),
        ({"columns": "file"}, "dataset.columns is 'file'; it must be a mapping"),
        ({"channels": "abc"}, "dataset.channels is 'abc'; it must be a whole number"),
        ({"_target_": "os.system"}, "is not a data set's source"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        build_source(FOLDER | changes)


def test_values_of_the_right_kind_are_taken() -> None:
    assert build_source(FOLDER | {"public": False, "targets": ["a"], "channels": None, "path": None}).public is False
