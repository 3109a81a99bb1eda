"""A configuration builds what is allowed, and nothing else."""

import pytest

from medai.core.error import MedaiError
from medai.core.target import build, locate


def test_a_target_is_called_with_its_arguments() -> None:
    assert build({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 3}, "a number", lambda target: True) * 3 == 1


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "os.system", "command": "true"}, "os.system is not a number"),
        ({"_target_": "no.such.thing"}, "does not exist"),
        ({"_target_": "fractions.Nothing"}, "has no 'Nothing'"),
        ({"_target_": "plain"}, "dotted path"),
        ({"width": 3}, "named by _target_"),
    ],
)
def test_anything_else_is_refused(node: dict[str, object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        build(node, "a number", lambda target: target.__name__ == "Fraction")


def test_wrong_arguments_are_one_clear_line() -> None:
    with pytest.raises(MedaiError, match=r"does not take these arguments: .*colour"):
        build({"_target_": "fractions.Fraction", "colour": 1}, "a number", lambda target: True)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(MedaiError, match="does not exist"):
        locate("not_installed_here.module.Class")
