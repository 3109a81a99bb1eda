"""What is chosen for which cohort and machine, and that the reasons say why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medai.cohort.cohort import Cohort
from medai.planning.fingerprint import Fingerprint, LabelFacts, fingerprint
from medai.planning.plan import Plan, draw_up
from medai.planning.recipe import may_mirror
from tests.planning.conftest import CPU, GPU, calculated, on_gpu

Cohorts = Callable[[str], Cohort]


@pytest.fixture
def facts(cohort: Cohorts) -> Callable[..., Fingerprint]:
    """The fingerprint of a kind of cohort, with other values where wanted."""

    def find(kind: str, **changes: Any) -> Fingerprint:
        return replace(fingerprint(cohort(kind)), **changes)

    return find


def why(plan: Plan, key: str) -> str:
    return next(choice.why for choice in plan.choices if choice.key == key)


def binary(train: tuple[int, int], validation: tuple[int, int] = (500, 500), **changes: Any) -> LabelFacts:
    counts = [{"no": no, "yes": yes} for no, yes in (train, validation)]
    return replace(LabelFacts("sick", "binary", "", counts[0], counts[1], 0, 0), **changes)


def test_small_grey_images_keep_their_size_and_their_values(facts: Callable[..., Fingerprint]) -> None:
    label = binary((1214, 3484), (135, 389))
    plan = draw_up(facts("grey", train=4698, validation=524, labels=(label,)), CPU, calculated, budget_minutes=60)
    chosen = plan.values
    assert (chosen["preprocessing.height"], chosen["preprocessing.width"], chosen["preprocessing.channels"]) == (28, 28, 1)
    assert [chosen[f"preprocessing.intensity.{key}"] for key in ("method", "lower", "upper")] == ["window", 0, 255]
    assert chosen["model._target_"].endswith(".residual_small")
    assert (chosen["training.batch_size"], chosen["training.epochs"], chosen["training.ema_decay"]) == (64, 50, 0.9981)
    assert (chosen["training.class_weights"], chosen["training.monitor"], chosen["training.threshold"]) == ("balanced", "last", "0.5")
    assert (chosen["training.label_smoothing"], chosen["training.flip_average"], chosen["pretrained.path"]) == (0.1, True, None)
    assert "28 x 28" in why(plan, "preprocessing.height")
    assert "1,214 training cases (25.8%)" in why(plan, "training.class_weights")
    assert "3,679 steps, and an epoch has 73" in why(plan, "training.epochs")
    assert "524 validation cases, 135 of them 'no'" in why(plan, "training.monitor")
    assert "4.3%" in why(plan, "training.threshold")
    assert 3 < plan.minutes < 60


def test_ct_gets_a_window_in_hu_and_the_size_that_the_budget_allows(facts: Callable[..., Fingerprint]) -> None:
    found = facts("ct", train=3000, labels=(binary((1500, 1500)),))
    plan = draw_up(found, CPU, calculated, budget_minutes=200, pretrained=True)
    chosen = plan.values
    assert chosen["preprocessing.intensity.method"] == "window"
    assert -30 <= chosen["preprocessing.intensity.lower"] <= -10
    assert "above the surrounding air" in why(plan, "preprocessing.intensity.method")
    assert chosen["model._target_"].endswith(".efficientnet_lite0")
    assert chosen["pretrained.path"] == "package:efficientnet-lite0"
    assert chosen["preprocessing.height"] == 224
    tight = draw_up(found, CPU, calculated, budget_minutes=60, pretrained=True)
    assert tight.values["preprocessing.height"] == 160
    assert "efficientnet_lite0 at 192 x 192 would take about" in why(tight, "preprocessing.height")
    assert "the budget of 60 min" in why(tight, "preprocessing.height")
    targets = [entry["_target_"].rsplit(".", 1)[-1] for entry in chosen["augmentation.transforms"]]
    assert "RandAdjustContrast" not in targets


def test_what_does_not_fit_the_budget_gets_a_cheap_network_and_fewer_epochs(facts: Callable[..., Fingerprint]) -> None:
    plan = draw_up(facts("ct", train=3000, labels=(binary((1500, 1500)),)), CPU, calculated, budget_minutes=2, pretrained=True)
    assert plan.values["model._target_"].endswith(".residual_small")
    assert plan.values["preprocessing.height"] == 64
    assert plan.values["training.epochs"] < 10
    assert "the budget allows no more than" in why(plan, "training.epochs")
    assert plan.minutes <= 2


def test_a_gpu_gets_larger_images_networks_and_batches(facts: Callable[..., Fingerprint]) -> None:
    many = facts("ct", train=100_000, validation=5000, labels=(binary((50_000, 50_000)),))
    plan = draw_up(many, GPU, on_gpu, budget_minutes=120)
    assert (plan.values["model._target_"].rsplit(".", 1)[-1], plan.values["preprocessing.height"]) == ("resnet50", 512)
    assert plan.values["training.batch_size"] == 256
    assert plan.values["training.micro_batch"] == 32
    assert "fill 80% of 80 GB" in why(plan, "training.micro_batch")
    assert plan.values["training.monitor"] == "auroc"
    smaller = draw_up(many, GPU, on_gpu, budget_minutes=3)
    assert (smaller.values["model._target_"].rsplit(".", 1)[-1], smaller.values["preprocessing.height"]) == ("densenet121", 256)
    tiny = draw_up(facts("grey", train=100_000, labels=(binary((50_000, 50_000)),)), GPU, on_gpu)
    assert tiny.values["model._target_"].endswith(".resnet18")


def test_colour_keeps_its_channels_its_hue_and_its_shape(facts: Callable[..., Fingerprint]) -> None:
    plan = draw_up(facts("colour"), CPU, calculated, budget_minutes=600)
    chosen = plan.values
    assert (chosen["preprocessing.channels"], chosen["preprocessing.height"], chosen["preprocessing.width"]) == (3, 96, 128)
    assert "keeps the hue" in why(plan, "preprocessing.intensity.method")
    assert "1.33" in why(plan, "preprocessing.width")
    assert chosen["training.label_smoothing"] == 0.05  # ordinal
    assert "training.threshold" not in chosen  # several classes have none


def test_exposures_that_differ_are_evened_out(facts: Callable[..., Fingerprint]) -> None:
    for kind, words in (("exposure", "104 uint8"), ("findings", "260 uint16")):
        plan = draw_up(facts(kind), CPU, calculated)
        assert plan.values["preprocessing.intensity.method"] == "percentile"
        assert words in why(plan, "preprocessing.intensity.method")


def test_many_rare_findings_are_neither_weighted_nor_smoothed(facts: Callable[..., Fingerprint]) -> None:
    plan = draw_up(facts("findings"), CPU, calculated)
    chosen = [plan.values[f"training.{key}"] for key in ("class_weights", "sampling", "label_smoothing")]
    assert chosen == ["none", "none", 0]
    assert "3 labels at once" in why(plan, "training.class_weights")
    assert "finding_2" in why(plan, "training.class_weights")
    assert any("validation cases of 'present' (finding_2)" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("classes", "weights", "sampling"),
    [((500, 500), "none", "none"), ((700, 300), "balanced", "none"), ((980, 20), "none", "balanced")],
)
def test_imbalance_is_met_by_weights_and_when_great_by_sampling(
    facts: Callable[..., Fingerprint], classes: tuple[int, int], weights: str, sampling: str
) -> None:
    plan = draw_up(facts("grey", labels=(binary(classes),)), CPU, calculated)
    assert (plan.values["training.class_weights"], plan.values["training.sampling"]) == (weights, sampling)
    assert f"{min(classes):,} training cases" in why(plan, "training.class_weights" if sampling == "none" else "training.sampling")


@pytest.mark.parametrize(
    ("classes", "validation", "given", "rule"),
    [
        ((500, 500), (20, 20), {}, "0.5"),
        ((700, 300), (20, 20), {}, "0.5"),
        ((700, 300), (20, 20), {"training.class_weights": "none"}, "youden"),
        ((700, 300), (900, 300), {}, "youden"),
    ],
)
def test_a_threshold_is_chosen_where_validation_is_large_enough_or_nothing_else_is_fair(
    facts: Callable[..., Fingerprint], classes: tuple[int, int], validation: tuple[int, int], given: dict[str, Any], rule: str
) -> None:
    plan = draw_up(facts("grey", labels=(binary(classes, validation),)), CPU, calculated, given=given)
    assert plan.values["training.threshold"] == rule


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"name": "side", "train": {"left": 5, "right": 5}}, "'side'"),
        ({"meaning": "Nodule in the left lung"}, "'left'"),
        ({"name": "situs_inversus"}, "'situs'"),
        ({"meaning": "左肺结节"}, "'左'"),
    ],
)
def test_nothing_is_mirrored_where_a_label_speaks_of_sides(facts: Callable[..., Fingerprint], changes: dict[str, Any], sign: str) -> None:
    found = facts("grey", labels=(replace(binary((50, 50)), **changes),))
    assert not may_mirror(found)[0]
    plan = draw_up(found, CPU, calculated)
    assert sign in why(plan, "training.flip_average")
    assert not plan.values["training.flip_average"]
    assert "Flip" not in str(plan.values["augmentation.transforms"])


def test_nor_where_the_organ_has_its_side(facts: Callable[..., Fingerprint]) -> None:
    assert not may_mirror(facts("grey", body_parts={"ABDOMEN": 12}))[0]
    assert may_mirror(facts("grey", body_parts={"KNEE": 12}, sided=0.9))[0]
    assert may_mirror(facts("grey", labels=(binary((5, 5), meaning="A bright lesion"),)))[0]  # 'bright' is not 'right'


@pytest.mark.parametrize(("train", "words", "turn"), [(300, "strong", 0.35), (5000, "medium", 0.26), (50_000, "light", 0.17)])
def test_few_cases_are_augmented_more(facts: Callable[..., Fingerprint], train: int, words: str, turn: float) -> None:
    plan = draw_up(facts("grey", train=train), CPU, calculated)
    assert words in why(plan, "augmentation.transforms")
    assert turn in [entry.get("rotate_range") for entry in plan.values["augmentation.transforms"]]


def test_uncertain_labels_are_left_out_where_they_are_few(facts: Callable[..., Fingerprint]) -> None:
    few, many = (draw_up(facts("grey", labels=(binary((50, 50), uncertain=share),)), CPU, calculated) for share in (0.01, 0.2))
    assert (few.values["training.uncertain"], many.values["training.uncertain"]) == ("ignore", "soft")
    assert "20.0%" in why(many, "training.uncertain")
    assert "training.uncertain" not in draw_up(facts("grey"), CPU, calculated).values


def test_what_is_given_stays_and_the_rest_goes_with_it(facts: Callable[..., Fingerprint]) -> None:
    given = {"preprocessing.height": 64, "preprocessing.width": 64, "training.epochs": 7}
    given |= {"training.batch_size": 8, "training.optimizer.lr": 0.5}
    plan = draw_up(facts("findings"), CPU, calculated, given=given, budget_minutes=1e6)
    assert {key: plan.values[key] for key in given} == given
    assert why(plan, "training.epochs") == "given by hand"
    shift = next(entry for entry in plan.values["augmentation.transforms"] if "Affine" in entry["_target_"])["translate_range"]
    assert shift == [7.7, 7.7]  # 12 % of the given size
    assert "of 175 steps" in why(plan, "training.ema_decay")  # 7 epochs of 25 batches


def test_the_same_facts_give_the_same_plan(facts: Callable[..., Fingerprint]) -> None:
    one, other = (draw_up(facts("ct"), CPU, calculated, pretrained=True) for _ in range(2))
    assert one == other


def test_unknown_patients_and_left_out_cases_are_told(facts: Callable[..., Fingerprint]) -> None:
    notes = " ".join(draw_up(facts("grey", excluded={"equal-pixels-in-validation": 10}), CPU, calculated).notes)
    assert "Some patients are unknown" in notes
    assert "10 development cases are left out" in notes
    known = draw_up(facts("grey", patients=80), CPU, calculated)
    assert "160 training cases are of 80 patients" in known.notes[0]
