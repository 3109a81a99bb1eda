import numpy as np
import polars as pl
import pytest

from medai.audit.association import associate, cramers_v, holm, independence_p
from medai.audit.metadata import fit_logistic, metadata_auroc
from medai.core.label import Label

SICK = Label("sick", "binary", ("negative", "positive"))


def test_v_is_one_where_one_column_tells_the_other_and_nothing_where_it_says_nothing() -> None:
    assert cramers_v(np.diag([40.0, 30.0, 30.0])) == pytest.approx(1.0)
    assert cramers_v(np.full((2, 3), 50.0)) == 0.0
    assert cramers_v(np.ones((1, 3))) is None


def test_v_is_that_of_scipy_with_the_correction() -> None:
    from scipy.stats.contingency import association

    table = np.array([[40.0, 10.0, 5.0], [12.0, 30.0, 20.0]])
    n, (r, c), plain = table.sum(), table.shape, association(table.astype(int), method="cramer")
    phi = plain**2 * (min(r, c) - 1) - (r - 1) * (c - 1) / (n - 1)
    narrow = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    assert cramers_v(table) == pytest.approx((phi / narrow) ** 0.5)


def test_p_is_pearson_s_or_that_of_permutations() -> None:
    from scipy.stats import chi2_contingency, fisher_exact

    one = np.repeat([0, 0, 1, 1], [30, 20, 15, 40])
    other = np.repeat([0, 1, 0, 1], [30, 20, 15, 40])
    p, method = independence_p(one, other)
    assert method == "chi-square" and p == pytest.approx(chi2_contingency([[30, 20], [15, 40]], correction=False).pvalue)
    few, also = np.repeat([0, 0, 1], [5, 1, 6]), np.repeat([0, 1, 1], [5, 1, 6])
    p, method = independence_p(few, also)
    assert method.startswith("permutation") and p == pytest.approx(fisher_exact([[5, 1], [0, 6]]).pvalue, abs=0.01)


def test_p_counts_a_patient_once() -> None:
    label = pl.Series([0, 1] * 4).repeat_by(50).explode()
    site = pl.Series(["a", "b", "a", "b", "b", "a", "a", "b"]).repeat_by(50).explode()
    first = pl.Series([index % 50 == 0 for index in range(400)])
    found = associate(label, site, first)
    assert found.n == 400 and found.patients == 8 and found.p is not None and found.p > 0.1
    assert found.v is not None and found.v > 0.4


def test_holm_keeps_the_order() -> None:
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_the_logistic_fit_is_at_its_optimum() -> None:
    from scipy.optimize import minimize

    random = np.random.default_rng(0)
    features, count = random.integers(0, 2, (12, 4)).astype(float), random.integers(1, 30, 12).astype(float)
    positive = np.floor(count * random.random(12))

    def loss(weight: np.ndarray) -> float:
        score = features @ weight[1:] + weight[0]
        return float(np.sum(count * np.logaddexp(0, score) - positive * score) + 0.5 * np.sum(weight[1:] ** 2))

    best = minimize(loss, np.zeros(5), tol=1e-12)
    assert fit_logistic(features, positive, count) == pytest.approx(best.x, abs=1e-3)


def _cases(tells: bool, images: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(0)
    sick = random.integers(0, 2, 400)
    site = np.where(random.random(400) < 0.85, sick, 1 - sick) if tells else random.integers(0, 2, 400)
    table = pl.DataFrame({"patient_id": [f"p{index}" for index in range(400)], "sick": sick, "site": np.array(["A", "B"])[site]})
    return pl.concat([table] * images)


@pytest.mark.parametrize(("images", "method"), [(1, "DeLong"), (2, "percentile bootstrap of patients")])
def test_metadata_that_tell_the_label_have_their_auroc(images: int, method: str) -> None:
    (area,) = metadata_auroc(_cases(True, images), [SICK], ["site"])
    assert 0.8 < area["value"] < 0.9 and area["low"] > 0.75 and method in area["method"] and area["n"] == 400 * images
    (area,) = metadata_auroc(_cases(False, images), [SICK], ["site"])
    assert 0.4 < area["value"] < 0.6


def test_too_few_patients_have_no_auroc() -> None:
    (area,) = metadata_auroc(_cases(True).head(6), [SICK], ["site"])
    assert area["value"] is None and "patients in a class" in area["reason"]
