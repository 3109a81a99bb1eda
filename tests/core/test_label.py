"""Labels name their columns and refuse nonsense."""

import pytest

from medai.core.error import MedaiError
from medai.core.label import Label, columns_of, slices_of

BINARY = Label("effusion", "binary", ("no", "yes"))
STAGE = Label("stage", "ordinal", ("none", "mild", "severe"))


def test_columns_are_one_for_binary_and_one_a_class_else() -> None:
    assert columns_of([BINARY, STAGE]) == ("effusion", "stage.none", "stage.mild", "stage.severe")
    assert slices_of([BINARY, STAGE]) == {"effusion": slice(0, 1), "stage": slice(1, 4)}


def test_a_label_survives_its_dictionary() -> None:
    assert Label.from_dict(STAGE.to_dict()) == STAGE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.b", "binary", ("n", "y")), "must not be empty or contain a dot"),
        (("a", "boolean", ("n", "y")), "allowed: binary, multiclass, ordinal"),
        (("a", "binary", ("n",)), "needs two classes"),
        (("a", "multiclass", ("n", "y")), "at least three classes"),
        (("a", "ordinal", ("n", "y", "y")), "names a class twice"),
    ],
)
def test_a_wrong_definition_is_refused(arguments: tuple[str, str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        Label(*arguments)
