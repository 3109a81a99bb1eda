"""The settings of an ingest: typed, with their defaults and their meaning."""

from dataclasses import dataclass, field
from typing import Any

from medai.ingest.executor import ExecutorSettings


@dataclass
class IngestSettings:
    """Everything `medai ingest` takes.

    Attributes:
        dataset: The data set's definition (a source by dotted target and its arguments).
        cohorts: Folder of the cohorts.
        workers: Processes that read files.
        allow: Hard stops to override, by name; recorded with the cohort.
        keep: An earlier cohort whose patients keep their split; auto: the newest one of the data set; null: none.
        executor: Where the work is done.
    """

    dataset: dict[str, Any] = field(default_factory=dict)
    cohorts: str = "cohorts"
    workers: int = 2
    allow: list[str] = field(default_factory=list)
    keep: str | None = "auto"
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
