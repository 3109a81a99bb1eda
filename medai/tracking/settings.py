"""The settings of the tracking. No mlflow here."""

from dataclasses import dataclass


@dataclass
class TrackingSettings:
    """Where a run is recorded.

    Attributes:
        enabled: Record the run in MLflow.
        uri: Any MLflow tracking URI; null is an SQLite file `mlflow.db` in the folder of the runs.
        experiment: The MLflow experiment's name.
        patience_seconds: How long the end of a training waits for a server that does not answer.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str = "medai"
    patience_seconds: float = 60.0
