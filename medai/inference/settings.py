"""The settings of an evaluation: typed, with their defaults and their meaning. No torch here, so that `--help` is quick."""

from dataclasses import dataclass, field
from typing import Any

from medai.core.error import MedaiError

SPLITS = ("train", "validation", "test")
SALIENCY = ("gradcam", "integrated_gradients", "none")


@dataclass
class EvaluateSettings:
    """Everything `evaluate.py` takes.

    Attributes:
        candidate: What is evaluated: a run, a checkpoint or a package (folder or zip).
        predictions: Instead of a candidate: a table of predictions (CSV or Parquet) in the columns of the design.
        dataset: The data set's definition; null takes the cohort that the candidate was trained on.
        split: ``test``, ``validation`` or ``train``.
        output: Folder of the results; null names one beside the candidate or the table, by cohort and split.
        thresholds: Operating point by label; a label that is not named keeps the candidate's frozen one.
        cohorts: Folder of the cohorts.
        runs: Folder of the runs, for sweeps.
        replicates: Bootstrap replicates of the intervals that have no closed form.
        seed: Of the bootstrap.
        workers: Processes that ingest files.
        title: Title of the report; null names the candidate and the data set.
        allow: Hard stops to override, by name; recorded with the results.
        saliency: Maps of the gallery, of what the network looked at: ``gradcam``, ``integrated_gradients`` (finer, and far
            slower) or ``none``. They need the network, so a package and a table get none.
    """

    candidate: str | None = None
    predictions: str | None = None
    dataset: dict[str, Any] | None = None
    split: str = "test"
    output: str | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    cohorts: str = "cohorts"
    runs: str = "runs"
    replicates: int = 1000
    seed: int = 0
    workers: int = 2
    title: str | None = None
    allow: list[str] = field(default_factory=list)
    saliency: str = "gradcam"

    def __post_init__(self) -> None:
        if (self.candidate is None) == (self.predictions is None):
            got = "both" if self.candidate else "neither"
            raise MedaiError(f"name what to evaluate: candidate=<run, checkpoint or package>, or else predictions=<table>; got {got}")
        if self.predictions is not None and self.dataset is not None:
            raise MedaiError("predictions= already holds the targets; leave dataset= out")
        if self.split not in SPLITS:
            raise MedaiError(f"split is {self.split!r}; allowed: {', '.join(SPLITS)}")
        if self.saliency not in SALIENCY:
            raise MedaiError(f"saliency is {self.saliency!r}; allowed: {', '.join(SALIENCY)}")
        if self.replicates < 1:
            raise MedaiError(f"replicates is {self.replicates}; it must be at least 1")
        for label, value in self.thresholds.items():
            if not 0 <= value <= 1:
                raise MedaiError(f"thresholds.{label} is {value}; a probability lies in [0, 1]")
