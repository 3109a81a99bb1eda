"""The settings of an evaluation: typed, with their defaults and their meaning. No torch here, so that `--help` is quick."""

from dataclasses import dataclass, field
from typing import Any

from medai.core.error import MedaiError
from medai.tracking.settings import TrackingSettings

SPLITS = ("train", "validation", "test")
SALIENCY = ("gradcam", "integrated_gradients", "none")
LANGUAGES = ("en", "zh", "both")
INTERVALS = ("percentile", "bca")
GROUP_BY = ("site", "sex", "age_band", "manufacturer")


@dataclass
class EvaluateSettings:
    """Everything `evaluate.py` takes.

    Attributes:
        candidate: What is evaluated: a run, a checkpoint or a package (folder or zip); anyone's ONNX file or torch weights, with
            ``contract``; or what MLflow holds, ``models:/NAME/VERSION`` or ``runs:/ID/PATH``.
        contract: YAML file that says how to call a model that is not ours: inputs, outputs, intensity, labels, thresholds; null
            takes the one beside the model, of the same name.
        dry_run: Run the model on three cases only, and write a page that shows the images as the model sees them, and its outputs.
            No label is read, and nothing is counted as a look at the test set.
        predictions: Instead of a candidate: a table of predictions (CSV or Parquet): ``case_id``, ``probability.<label>``, and
            ``target.<label>`` unless ``dataset`` has the truth. Or one of ``dice.<structure>``, ``nsd.…``, ``hd95.…`` a case.
        dataset: The data set's definition; null takes the cohort that the candidate was trained on.
        split: ``test``, ``validation`` or ``train``.
        output: Folder of the results; null names one beside the candidate or the table, by cohort and split.
        thresholds: Operating point by label; a label that is not named keeps the candidate's frozen one.
        cohorts: Folder of the cohorts; or one cohort, which is then evaluated, and not the one that the candidate was trained on.
        runs: Folder of the runs, for sweeps.
        operating_point: File of frozen operating points, ``operating_point.json``; null keeps those of the candidate.
        prevalences: Of the disease where the model is to be used, for PPV and NPV there, e.g. ``[0.01,0.1]``.
        group_by: Columns of the subgroups; ``site*sex`` is their intersection. A column that the cases lack is left out,
            and unless it is one of the usual ones the command and the report say so.
        reference: What to compare with on the same cases: a table of predictions or another candidate.
        margin: Non-inferiority margin of the comparison with ``reference``, in units of its metric, declared beforehand.
        interval: Of the bootstrap: ``percentile``, or ``bca`` (bias-corrected and accelerated).
        auroc_interval: ``score``, or ``wald`` for DeLong's normal interval, as pROC gives it; with few events it covers too seldom.
        replicates: Bootstrap replicates of the intervals that have no closed form.
        stratify: Draw patients with and without events apart, for a test set whose patients were chosen by their outcome: the
            intervals are conditional on how many there are. Where patients came as they come, it would make them too narrow.
        seed: Of the bootstrap.
        workers: Processes that ingest files.
        title: Title of the report; null names the candidate and the data set.
        allow: Hard stops to override, by name; recorded with the results.
        saliency: Maps of the gallery, of what the network looked at: ``gradcam``, ``integrated_gradients`` (finer, and far
            slower) or ``none``. They need the network, so a package and a table get none.
        language: Of the report: ``en``, ``zh`` or ``both``.
        pdf: Print the report to PDF, too; needs a chromium.
        seal_key: The evaluator's key file, of a cohort whose test set is sealed.
        tracking: Where figures and report are recorded: with a run of ours in its own MLflow run, otherwise only where
            ``tracking.uri`` names a store. Nothing of a sealed test set is.
    """

    candidate: str | None = None
    contract: str | None = None
    dry_run: bool = False
    predictions: str | None = None
    dataset: dict[str, Any] | None = None
    split: str = "test"
    output: str | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    operating_point: str | None = None
    prevalences: list[float] = field(default_factory=list)
    group_by: list[str] = field(default_factory=lambda: list(GROUP_BY))
    reference: str | None = None
    margin: float | None = None
    interval: str = "percentile"
    auroc_interval: str = "score"
    cohorts: str = "cohorts"
    runs: str = "runs"
    replicates: int = 2000
    stratify: bool = False
    seed: int = 0
    workers: int = 2
    title: str | None = None
    allow: list[str] = field(default_factory=list)
    saliency: str = "gradcam"
    language: str = "both"
    pdf: bool = False
    seal_key: str | None = None
    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    def __post_init__(self) -> None:
        if bool(self.candidate) == bool(self.predictions):
            got = "both" if self.candidate else "neither"
            raise MedaiError(f"name what to evaluate: candidate=<run, checkpoint, package or model>, or predictions=<table>; got {got}")
        if self.predictions is not None:
            self._check_table()
        for key, allowed in (("split", SPLITS), ("saliency", SALIENCY), ("language", LANGUAGES), ("interval", INTERVALS)):
            if getattr(self, key) not in allowed:
                raise MedaiError(f"{key} is {getattr(self, key)!r}; allowed: {', '.join(allowed)}")
        if self.replicates < 1:
            raise MedaiError(f"replicates is {self.replicates}; it must be at least 1")
        for label, value in self.thresholds.items():
            if not 0 <= value <= 1:
                raise MedaiError(f"thresholds.{label} is {value}; a probability lies in [0, 1]")
        for value in self.prevalences:
            if not 0 < value < 1:
                raise MedaiError(f"prevalences holds {value}; a prevalence lies between 0 and 1, e.g. 0.01 for one in a hundred")
        self._check_comparison()

    def _check_table(self) -> None:
        """A table was made elsewhere."""
        if self.contract is not None or self.dry_run:
            key = "contract=" if self.contract is not None else "dry_run="
            raise MedaiError(f"{key} is for a model, and predictions= is a table of scores; name the model with candidate=…")

    def _check_comparison(self) -> None:
        if self.margin is None:
            return
        if self.reference is None:
            raise MedaiError("margin= is the non-inferiority margin of a comparison; name with what: reference=<table or candidate>")
        if not 0 < self.margin < 1:
            raise MedaiError(f"margin is {self.margin}; a non-inferiority margin lies between 0 and 1, e.g. 0.05")
