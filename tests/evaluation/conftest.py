"""Small tables of predictions: (table, labels, thresholds)."""

import numpy as np
import polars as pl
import pytest

from medai.core.label import Label

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


@pytest.fixture
def binary() -> Scored:
    """200 cases, no patients, no groups."""
    generator = np.random.default_rng(0)
    truth = generator.random(200) < 0.4
    probability = _sigmoid(generator.normal(size=200) + 2 * truth - 1)
    table = pl.DataFrame(
        {"case_id": [f"c{i:03}" for i in range(200)], "target.pneumonia": truth.astype(int), "probability.pneumonia": probability}
    )
    return table, (Label("pneumonia", "binary", ("normal", "pneumonia")),), {"pneumonia": 0.5}


@pytest.fixture
def multilabel() -> Scored:
    """300 cases of repeating patients in two sites and an unknown one, three labels, one of them rare, one with unknown truth."""
    generator = np.random.default_rng(1)
    columns: dict[str, object] = {
        "case_id": [f"c{i:03}" for i in range(300)],
        "patient_id": [f"p{i}" for i in generator.integers(0, 150, 300)],
        "site": ["large"] * 255 + ["small"] * 25 + [None] * 20,
        "sex": generator.choice(["F", "M"], 300),
    }
    for name, share in (("nodule", 0.3), ("effusion", 0.2), ("hernia", 0.02)):
        truth = generator.random(300) < share
        truth[:3] = True
        unknown = 20 if name == "nodule" else 0
        columns[f"target.{name}"] = [None if i < unknown else int(value) for i, value in enumerate(truth)]
        columns[f"probability.{name}"] = _sigmoid(generator.normal(size=300) + 2 * truth - 2)
    names = ("nodule", "effusion", "hernia")
    labels = tuple(Label(name, "binary", ("absent", "present")) for name in names)
    return pl.DataFrame(columns, strict=False), labels, dict.fromkeys(names, 0.3)


@pytest.fixture
def ordinal() -> Scored:
    """240 cases of four grades."""
    generator = np.random.default_rng(2)
    classes = ("none", "mild", "moderate", "severe")
    grade = generator.integers(0, 4, 240)
    score = np.exp(-1.5 * np.abs(np.arange(4) - (grade + 0.7 * generator.normal(size=240))[:, None]))
    score /= score.sum(axis=1, keepdims=True)
    columns = {"case_id": [f"c{i:03}" for i in range(240)], "target.grade": [classes[i] for i in grade]}
    columns |= {f"probability.grade.{name}": score[:, i] for i, name in enumerate(classes)}
    return pl.DataFrame(columns), (Label("grade", "ordinal", classes),), {}
