"""A small sealed cohort, and candidates that are tables of scores."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.evaluation.evaluate import Evaluation, evaluate
from medai.ingest.ingest import ingest
from medai.seal.seal import seal_cohort
from medai.seal.session import SealedSession
from medai.seal.terms import Terms
from medai.source.npz import NpzSource

TEST_CASES = 160


_MADE: dict[tuple[bool, str], Path] = {}  # an ingest for all tests of a process; each works on a copy


def make_cohort(folder: Path, public: bool = True) -> Cohort:
    """A cohort in `folder`/cohorts, the same each time."""
    key = (public, os.environ["MEDAI_SITE_KEY"])
    if key not in _MADE:
        _MADE[key] = Path(tempfile.mkdtemp(dir=Path(os.environ["MEDAI_SITE_KEY"]).parent))
        _ingest(_MADE[key], public)
    shutil.copytree(_MADE[key] / "cohorts", folder / "cohorts")
    return Cohort.open(next((folder / "cohorts").glob("set-*")))


def _ingest(folder: Path, public: bool) -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("val", 6), ("test", TEST_CASES)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), dtype=np.uint8)
        arrays[f"{split}_labels"] = (random.random(count) < 0.4).astype(np.uint8)[:, None]
        arrays[f"{split}_labels"][:2, 0] = 0, 1
    np.savez(folder / "set.npz", **arrays)
    target = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}
    ingest(NpzSource("set", str(folder / "set.npz"), [target], public=public), folder / "cohorts", workers=0)


@dataclass
class Facility:
    """A sealed cohort, the key, and the truth that only this test still knows."""

    cohort: Cohort
    key: Path
    truth: pl.DataFrame

    @property
    def ledger(self) -> Path:
        return self.cohort.path / "seal/ledger.jsonl"

    def scores(self, seed: int = 0, strength: float = 1.5) -> pl.DataFrame:
        """A candidate: the better, the larger `strength`."""
        logit = np.random.default_rng(seed).normal(size=len(self.truth)) + strength * (self.truth["sick"].to_numpy() - 0.5)
        return self.truth.select("case_id", pl.Series("probability.sick", 1 / (1 + np.exp(-logit))))

    def evaluation(self, session: SealedSession, scores: pl.DataFrame) -> Evaluation:
        table = session.join(scores, session.cohort.labels)
        return evaluate(table, session.cohort.labels, session.thresholds({"sick": 0.5}, {}), replicates=20)

    def submit(self, candidate: str = "a" * 64, scores: pl.DataFrame | None = None, **settings: Any) -> dict[str, Any]:
        with SealedSession(Cohort.open(self.cohort.path), self.key) as session:
            session.begin(candidate, "table", settings)
            return session.commit(self.evaluation(session, self.scores() if scores is None else scores))


Make = Callable[..., Facility]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(public: bool = True, **terms: Any) -> Facility:
        cohort = make_cohort(tmp_path / "data", public)
        truth = cohort.select("test").select("case_id", "sick")
        key = tmp_path / "office" / "evaluator.key"
        seal_cohort(cohort, key, Terms(**{"metric": "auroc", "label": "sick", "attempts": 3} | terms))
        return Facility(Cohort.open(cohort.path), key, truth)

    return made
