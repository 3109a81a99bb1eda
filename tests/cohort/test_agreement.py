import numpy as np
import polars as pl
import pytest

from medai.cohort.agreement import agreement, describe

# Ten subjects, fourteen readers, five categories: the worked example that texts on Fleiss' kappa repeat (kappa 0.210).
WORKED = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def _votes(rows: list[list[int]]) -> pl.Series:
    return pl.Series(rows, dtype=pl.List(pl.Int16))


def _random(cases: int, seed: int, classes: int = 3, most: int = 5) -> list[list[int]]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, cases)
    return [
        [int(value) if random.random() < 0.7 else int(random.integers(0, classes)) for _ in range(random.integers(1, most + 1))]
        for value in truth
    ]


def _kappa(rows: list[list[int]], classes: int) -> float:
    """Straight from the definition, without any vectors."""
    read = [row for row in rows if len(row) >= 2]
    shares = [[row.count(k) / len(row) for k in range(classes)] for row in read]
    chance = sum((sum(share[k] for share in shares) / len(read)) ** 2 for k in range(classes))
    pairs = [sum(a == b for i, a in enumerate(row) for j, b in enumerate(row) if i != j) / (len(row) * (len(row) - 1)) for row in read]
    return (sum(pairs) / len(read) - chance) / (1 - chance)


def test_the_worked_example_has_its_published_kappa() -> None:
    rows = [[answer for answer, count in enumerate(counts) for _ in range(count)] for counts in WORKED]
    found = agreement(_votes(rows), list("abcde"))
    assert found["kappa"] == pytest.approx(0.210, abs=0.0005) and found["percent_agreement"] == pytest.approx(37.8, abs=0.05)
    assert (found["cases"], found["votes"], found["readers"], found["unanimous"]) == (10, 140, [14, 14], 10.0)


@pytest.mark.parametrize("seed", range(4))
def test_unequal_numbers_of_readers_follow_the_definition(seed: int) -> None:
    rows = _random(60, seed)
    found = agreement(_votes(rows), ["a", "b", "c"])
    assert found["kappa"] == pytest.approx(_kappa(rows, 3), abs=1e-6)
    assert found["single"] == sum(len(row) == 1 for row in rows) and found["cases"] == 60 - found["single"]


def test_the_standard_error_is_near_that_of_the_jackknife() -> None:
    rows = [row for row in _random(400, 7) if len(row) >= 2]
    found = agreement(_votes(rows), ["a", "b", "c"])
    left_out = np.array([_kappa(rows[:index] + rows[index + 1 :], 3) for index in range(len(rows))])
    jackknife = np.sqrt((len(rows) - 1) * left_out.var())
    assert found["standard_error"] == pytest.approx(jackknife, rel=0.02)
    assert found["interval"] == pytest.approx([found["kappa"] - 1.96 * jackknife, found["kappa"] + 1.96 * jackknife], abs=0.003)


def test_the_interval_covers_the_true_kappa() -> None:
    many = agreement(_votes(_random(20_000, 0)), ["a", "b", "c"])["kappa"]
    intervals = [agreement(_votes(_random(100, seed)), ["a", "b", "c"])["interval"] for seed in range(1, 121)]
    assert np.mean([low <= many <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.05)


def test_perfect_agreement_is_one_and_chance_is_about_nought() -> None:
    assert agreement(_votes([[0, 0], [1, 1, 1]]), ["n", "p"])["kappa"] == 1.0
    random = np.random.default_rng(0).integers(0, 2, (5000, 3)).tolist()
    assert agreement(_votes(random), ["n", "p"])["kappa"] == pytest.approx(0, abs=0.03)


def test_uncertain_is_an_answer_of_its_own() -> None:
    sure, unsure = agreement(_votes([[0, 0], [1, 1], [1]]), ["n", "p"]), agreement(_votes([[0, 0], [1, 1], [1, -1]]), ["n", "p"])
    assert unsure["kappa"] < sure["kappa"] == 1.0 and (unsure["uncertain"], unsure["cases"], sure["cases"]) == (1, 3, 2)


def test_what_cannot_be_computed_is_none() -> None:
    alone = agreement(_votes([[0], [], [1]]), ["n", "p"])
    assert (alone["cases"], alone["single"], alone["kappa"], alone["percent_agreement"]) == (0, 2, None, None)
    same = agreement(_votes([[0, 0], [0, 0]]), ["n", "p"])
    assert (same["percent_agreement"], same["kappa"], same["standard_error"]) == (100.0, None, None)
    one = agreement(_votes([[0, 1]]), ["n", "p"])
    assert one["kappa"] == -1.0 and one["standard_error"] is None and one["interval"] is None
    assert agreement(_votes([]), ["n", "p"])["cases"] == 0


def test_the_order_of_cases_and_votes_plays_no_part() -> None:
    rows = _random(500, 3)
    order = np.random.default_rng(0).permutation(500)
    assert agreement(_votes(rows), ["a", "b", "c"]) == agreement(_votes([rows[index][::-1] for index in order]), ["a", "b", "c"])


def test_a_sentence_tells_it() -> None:
    said = describe("mass", agreement(_votes([[0, 0], [1, 1], [0, 1], [1, 1]]), ["n", "p"]))
    assert said == "mass: 2 readers a case, 4 cases, 75.0 % of pairs agree, Fleiss' kappa 0.47 (95 % interval -0.57 to 1.00)."
    assert "not defined" in describe("mass", agreement(_votes([[0, 0], [0, 0]]), ["n", "p"]))
    assert describe("mass", agreement(_votes([[0]]), ["n", "p"])) == "mass: no case has two readers, so their agreement is not known."
