"""The embedded data set: simulated chest radiographs, written as real DICOM files and read back like any hospital's."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.error import MedaiError
from medai.source.base import ALONE, CaseRecord, RefusedItem, Scan, ScanContext, digest
from medai.source.dicom import DicomSource

IMAGES = "images/"
TABLE = "labels.csv"
FINDINGS = {
    "nodule": "A round opacity in a lung.",
    "effusion": "Fluid that blunts a costophrenic angle.",
    "cardiomegaly": "A heart wider than half the chest.",
    "pneumothorax": "Air between lung and chest wall.",
}


def _targets() -> list[Any]:
    return [{"name": name, "kind": "binary", "classes": ["absent", "present"], "meaning": meaning} for name, meaning in FINDINGS.items()]


@dataclass(frozen=True)
class PhantomSource:
    """Simulated chest radiographs with four findings. The files are written at the first scan and stay.

    Attributes:
        name: Names the cohort.
        path: Folder of the DICOM files.
        count: Number of images.
        size: Rows and columns, in pixels.
        seed: Same seed, same images.
        targets: Columns of the table, or mappings.
        public: Literal names in the cohort.
        licence: Of the simulated images.
        url: Where they come from.
        description: One sentence for people.
        split: See `SplitSettings`.
        channels: What a network should take by default; None: what the images have.
        workers: Processes that write the files; None: one a processor.
    """

    name: str = "phantom"
    path: str | None = None
    count: int = 1500
    size: int = 256
    seed: int = 0
    targets: list[Any] = field(default_factory=_targets)
    public: bool = True
    licence: str = "Apache-2.0"
    url: str = ""
    description: str = "Simulated chest radiographs."
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None
    workers: int | None = None

    def scan(self, context: ScanContext = ALONE) -> Scan:
        from medai.source.phantom.simulate import PhantomSettings
        from medai.source.phantom.write import write_phantom

        if not self.path:
            raise MedaiError("dataset.path is not set; give dataset.path=… (the folder where the images are written)")
        write_phantom(Path(self.path), PhantomSettings(count=self.count, size=self.size, seed=self.seed), workers=self.workers)
        scan = self._files().scan(context)
        listed = scan.items.filter(pl.col("item").str.starts_with(IMAGES))
        refused = scan.refused.filter(pl.col("item").str.starts_with(IMAGES))
        return replace(scan, items=listed, refused=refused, digest=digest(self, listed, {"files": scan.digest}))

    def prepare(self, scratch: Path) -> "PhantomSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        return self._files().read(rows)

    def _files(self) -> DicomSource:
        return DicomSource(self.name, self.path, labels=str(Path(self.path or "") / TABLE), targets=self.targets, split=self.split)
