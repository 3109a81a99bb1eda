"""Fill a cohort from a configuration."""

from pathlib import Path

from medai.cohort.cohort import Cohort
from medai.ingest.ingest import ingest
from medai.ingest.settings import IngestSettings
from medai.source.build import build_source


def ingest_dataset(settings: IngestSettings) -> Cohort:
    """Ingest the data set that is configured; a second call opens the finished cohort."""
    source, cohorts = build_source(settings.dataset), Path(settings.cohorts)
    return ingest(source, cohorts, workers=settings.workers, allow=settings.allow, executor=settings.executor, keep=settings.keep)
