"""DICOM from a PACS or archive that speaks DICOMweb: fetched into a folder, then read like any DICOM folder."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.lock import locked
from medai.source.base import ALONE, REFUSED_SCHEMA, CaseRecord, RefusedItem, Scan, ScanContext
from medai.source.dicom import DicomSource
from medai.source.dicomweb_client import ClientSettings, DicomWebClient
from medai.source.dicomweb_fetch import LEVELS, fetch
from medai.source.dicomweb_query import queries
from medai.source.dicomweb_spool import Spool


@dataclass(frozen=True)
class DicomWebSource:
    """Studies of a DICOMweb server (PS3.18): searched by QIDO-RS, retrieved by WADO-RS as they are stored, then a `DicomSource`.

    The scan fetches; what is in the folder already is not fetched again. Reading does without the server. Credentials come from the
    environment alone, see `DicomWebClient`.

    Attributes:
        name: Names the cohort.
        server: The address of the DICOMweb service, e.g. ``https://pacs.example/dicom-web``.
        path: The folder into which instances are fetched: the hospital's own data, in the clear, for its owner alone (mode 0700).
        query: Attributes to match, by keyword: StudyDate (a day or a range), ModalitiesInStudy, PatientID, AccessionNumber,
            StudyInstanceUID, …; of series: Modality, SeriesDescription, … One of them may have a list of values.
        studies: A text file with a Study Instance UID a line, instead of a query or narrowing it.
        level: What is retrieved at a time: ``series`` or ``instance``.
        concurrency: Series that are fetched at a time, each on a connection of its own.
        retries: Further attempts after one that failed, with growing pauses, or those that the server asks for.
        timeout_s: Seconds without a byte after which an attempt has failed.
        page: Results of a search that are asked for at a time.
        ca_bundle: File of the certificates that are trusted (PEM); None: those of the operating system. TLS is always verified.
        labels: This and the following: see `DicomSource`.
    """

    name: str
    server: str | None = None
    path: str | None = None
    query: dict[str, Any] = field(default_factory=dict)
    studies: str | None = None
    level: str = "series"
    concurrency: int = 4
    retries: int = 5
    timeout_s: float = 60.0
    page: int = 500
    ca_bundle: str | None = None
    labels: str | None = None
    targets: list[Any] = field(default_factory=list)
    key: str = "file"
    columns: dict[str, str] = field(default_factory=dict)
    readers: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    tilt: str = "quarantine"
    burned_in: list[Any] = field(default_factory=list)
    site_pattern: str | None = None
    site_attribute: str = "PatientID"
    public: bool = False
    licence: str = ""
    url: str = ""
    description: str = ""
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None

    def scan(self, context: ScanContext = ALONE) -> Scan:
        if self.level not in LEVELS:
            raise MedaiError(f"dataset.level is {self.level!r}; allowed: {', '.join(LEVELS)}")
        if not self.server:
            raise MedaiError("dataset.server is not set; give the address of the DICOMweb service, e.g. https://pacs.example/dicom-web")
        settings = ClientSettings(self.server, self.concurrency, self.retries, self.timeout_s, self.page, self.ca_bundle)
        wanted = queries(self.query, self.studies)
        if not self.path:
            raise MedaiError("dataset.path is not set; give dataset.path=… (the folder into which the images are fetched, in the clear)")
        client = DicomWebClient(settings)
        with locked(Path(self.path) / ".lock"):
            spool = Spool.open(Path(self.path), self.server)
            fetched = fetch(client, spool, wanted, self.level, self.concurrency)
            spool.select(self._query, fetched.series)
        scan = self._files().scan(context)
        refused = pl.DataFrame(fetched.failed, schema=REFUSED_SCHEMA, orient="row")
        # What was fetched counts, and not how: the scan's hash holds the names and the content of the files.
        found = hash_text(canonical_json([type(self).__name__, scan.digest, fetched.failed]))
        return replace(scan, refused=pl.concat([scan.refused, refused]), digest=found)

    def prepare(self, scratch: Path) -> "DicomWebSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        return self._files().read(rows)

    @property
    def _query(self) -> str:
        """The name of the query's folder in the spool."""
        return blake2b(canonical_json([dict(self.query), self.studies]).encode(), digest_size=8).hexdigest()

    def _files(self) -> DicomSource:
        shared = {entry.name: getattr(self, entry.name) for entry in fields(DicomSource)}
        return DicomSource(**shared | {"path": str(Path(self.path or "") / "selected" / self._query)})
