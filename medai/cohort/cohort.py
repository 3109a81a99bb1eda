"""A cohort on disk: audited cases, labels apart from them, splits, native pixels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.key import Keys
from medai.cohort.schema import (
    CASES,
    DEVELOPMENT_LABELS,
    INSTANCES,
    QUARANTINE,
    RECORD,
    SCHEMA_VERSION,
    SEAL_FOLDER,
    SEALED_LABELS,
    SPLIT,
    TEST_LABELS,
    check_version,
)
from medai.cohort.write import content_hash, hash_part, part_files
from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.core.label import Label

SPLITS = ("train", "validation", "development", "test")
NEEDED = ("name", "hash", "unit", "labels", "counts", "parts")


@dataclass(frozen=True)
class Cohort:
    """A finished cohort. It holds its record only; tables are read when asked for.

    Example:
        >>> cohort = Cohort.open("cohorts/pneumoniamnist-1f2e3d4c")
        >>> cohort.select("train")["pneumonia"].value_counts()
    """

    path: Path
    meta: dict[str, Any] = field(repr=False)

    @staticmethod
    def open(path: Path | str) -> "Cohort":
        """Open a cohort.

        Raises:
            MedaiError: there is none, it is unfinished, or its schema is newer than this program.
        """
        path = Path(path)
        if not path.exists():
            raise MedaiError(f"the cohort {path} does not exist; make it with: medai ingest")
        if not (path / RECORD).is_file():
            hint = "its ingest was interrupted, run it again" if path.name.endswith(".ingesting") else f"it has no {RECORD}"
            raise MedaiError(f"{path} is not a cohort: {hint}")
        meta = read_json(path / RECORD)
        if not isinstance(meta, dict):
            raise MedaiError(f"{path / RECORD} does not hold a cohort's record")
        check_version(meta.get("schema_version"), path, "a cohort", SCHEMA_VERSION)
        absent = [key for key in NEEDED if key not in meta]
        if absent:
            raise MedaiError(f"{path / RECORD} lacks {', '.join(absent)}; restore it, or ingest again")
        return Cohort(path, meta)

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    @property
    def hash(self) -> str:
        """The content hash."""
        return str(self.meta["hash"])

    @property
    def unit(self) -> str:
        """What a case is, e.g. ``"image"``."""
        return str(self.meta["unit"])

    @property
    def labels(self) -> tuple[Label, ...]:
        return tuple(Label.from_dict(value) for value in self.meta["labels"])

    @property
    def counts(self) -> dict[str, Any]:
        return dict(self.meta["counts"])

    @property
    def patients_known(self) -> bool:
        """Whether every case has a patient. Where not, cases of one patient may lie in two splits unseen."""
        return int(self.meta["counts"]["patients_unknown"]) == 0

    @property
    def sealed(self) -> bool:
        """Whether the test labels are encrypted, and only an evaluator with the key reads them."""
        return (self.path / SEALED_LABELS).exists()

    def cases(self) -> pl.DataFrame:
        """Every case, ordered by ordinal, without labels."""
        return self._read(CASES)

    def quarantine(self) -> pl.DataFrame:
        """Everything that was refused, with its reason."""
        return self._read(QUARANTINE)

    def instances(self) -> pl.DataFrame:
        """A row a file that was found, of a cohort whose cases can be several files: see `medai.cohort.schema.INSTANCE_SCHEMA`."""
        return self._read(INSTANCES)

    def select(self, split: str, uncertain: bool = False) -> pl.DataFrame:
        """The cases of a split with its labels.

        Args:
            split: ``"train"``, ``"validation"``, ``"development"`` (both) or ``"test"``. Only ``"test"`` opens the test labels.
            uncertain: Give `<label>.uncertain` too: whether the reader was not sure (the label is null then).

        Returns:
            The columns of the cases, `split`, and one integer column a label (class index, null = unknown), ordered by
            ordinal. Excluded cases are left out.

        Raises:
            MedaiError: there is no such split, or the test set is sealed.
        """
        if split not in SPLITS:
            raise MedaiError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
        if split == "test" and self.sealed:
            raise MedaiError(f"the test labels of {self.path} are sealed; only medai evaluate with seal_key=FILE reads them")
        partition = "test" if split == "test" else "development"
        cases = self.cases().filter((pl.col("partition") == partition) & pl.col("exclusion").is_null())
        if partition == "test":
            cases = cases.with_columns(split=pl.lit("test"))
        else:
            cases = cases.join(self._read(SPLIT), on="case_id", how="left", maintain_order="left", validate="1:1")
            cases = cases if split == "development" else cases.filter(pl.col("split") == split)
        names = [label.name for label in self.labels]
        columns = ["case_id", *names, *(f"{name}.uncertain" for name in names if uncertain)]
        labels = self._read(TEST_LABELS if partition == "test" else DEVELOPMENT_LABELS).select(columns)
        return cases.join(labels, on="case_id", how="left", maintain_order="left", validate="1:1")

    def unlabelled_test(self) -> pl.DataFrame:
        """The test cases as `select` gives them, but without labels, so that a sealed set has them too."""
        return self.cases().filter((pl.col("partition") == "test") & pl.col("exclusion").is_null()).with_columns(split=pl.lit("test"))

    def splits(self) -> pl.DataFrame:
        """Where every case is, the excluded ones too: `case_id`, `patient_id` and `split` (train, validation, test)."""
        cases = self.cases().join(self._read(SPLIT), on="case_id", how="left", maintain_order="left")
        return cases.select("case_id", "patient_id", split=pl.when(pl.col("partition") == "test").then(pl.lit("test")).otherwise("split"))

    def _keys(self) -> Keys | None:
        """What the hashes were keyed with; None where this machine does not have the site's key."""
        try:
            keys = Keys.of(bool(self.meta.get("public")), create=False)
        except MedaiError:
            return None
        return keys if keys.identity == self.meta.get("key_identity") else None

    def check(self) -> None:
        """Verify the hash of every part, the pixels included. Sealed test labels are checked by whoever opens them.

        Raises:
            MedaiError: a part is missing, changed or too many, or the site's key is another one.
        """
        keys = Keys.of(bool(self.meta.get("public")), create=False)
        if keys.identity != self.meta.get("key_identity"):
            raise MedaiError(f"{self.path} was made with another site's key; its hashes can only be checked with that one")
        recorded = dict(self.meta["parts"])
        found = {name for name in part_files(self.path) if name != SEALED_LABELS and not name.startswith(f"{SEAL_FOLDER}/")}
        if self.sealed:
            if TEST_LABELS in found:
                raise MedaiError(f"{self.path / TEST_LABELS} lies beside its sealed copy: finish the sealing with medai seal, or remove it")
            recorded.pop(TEST_LABELS, None)
        for name in sorted(found | set(recorded)):
            if name not in found:
                raise MedaiError(f"{self.path / name} is missing; restore it, or ingest again")
            if name not in recorded:
                raise MedaiError(f"{self.path / name} does not belong to the cohort; remove it")
            if hash_part(self.path / name, keys) != recorded[name]:
                raise MedaiError(f"{self.path / name} was changed after the ingest; restore it, or ingest again")
        if content_hash(self.meta, keys) != self.hash:
            raise MedaiError(f"{self.path / RECORD} was changed after the ingest; restore it, or ingest again")

    def _read(self, name: str) -> pl.DataFrame:
        """Read a table and hold it against its recorded hash (for hospital data where the site's key is here)."""
        keys = self._keys()
        if keys is not None and (self.path / name).is_file() and hash_part(self.path / name, keys) != self.meta["parts"].get(name):
            raise MedaiError(f"{self.path / name} was changed after the ingest; restore it, or ingest again")
        try:
            return pl.read_parquet(self.path / name)
        except (FileNotFoundError, pl.exceptions.PolarsError) as error:
            text = str(error).splitlines()[0]
            raise MedaiError(f"{self.path / name} cannot be read ({text}); restore it, or ingest again") from None
