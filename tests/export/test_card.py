"""medai.export.card"""

from dataclasses import replace

from medai.export.card import model_card
from medai.export.record import PackageInput, package_record

PARITY = {"cases": 240, "max_probability_difference": 2.3e-6, "decision_flips": 0}


def test_the_card_shows_the_accuracy_with_its_interval(given: PackageInput) -> None:
    card = model_card(package_record(given, PARITY, 18, 8))
    assert "| nodule | AUROC | 0.912 | 0.880 to 0.940 | 240 | DeLong |" in card
    assert "yes from a probability of 0.4" in card
    assert "They were chosen on: validation split of phantom-1a2b3c4d, rule youden" in card
    assert "at most 2.3e-06" in card
    assert "Not a medical device" in card


def test_a_card_without_test_figures_says_so(given: PackageInput) -> None:
    nothing = model_card(package_record(replace(given, measured={}), PARITY, 18, 8))
    assert "No accuracy was measured" in nothing
    only_validation = model_card(package_record(replace(given, measured={"validation": given.measured["test"]}), PARITY, 18, 8))
    assert "holds no figure on held-out test data" in only_validation


def test_a_figure_that_is_not_known_gives_its_reason(given: PackageInput) -> None:
    unknown = {"value": None, "low": None, "high": None, "n": 3, "method": "DeLong", "reason": "one class only"}
    card = model_card(package_record(replace(given, measured={"test": {"labels": {"nodule": {"auroc": unknown}}}}), PARITY, 18, 8))
    assert "| nodule | AUROC | not known | - | 3 | one class only |" in card


def test_markup_from_outside_stays_text(given: PackageInput) -> None:
    card = model_card(package_record(replace(given, name="<script>x</script>", data={"name": "a|b\n# c"}), PARITY, 18, 8))
    assert "<script>" not in card
    assert "\n# c" not in card
