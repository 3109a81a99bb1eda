"""One small run through the whole way, shared by the tests that look at its parts."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from medai.cli import main

SMALL = ["preprocessing.height=32", "preprocessing.width=32", "training.epochs=2", "training.batch_size=16", "workers=0"]


@dataclass(frozen=True)
class Way:
    """A folder in which phantom images, a cohort, a run and its package lie."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "first"

    @property
    def package(self) -> Path:
        return self.run / "package"

    @property
    def images(self) -> Path:
        """The images that the run was developed on."""
        return self.folder / "phantom"

    @property
    def elsewhere(self) -> Path:
        """Images of other patients."""
        return self.folder / "elsewhere"


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """Train on 80 phantoms, evaluate on test, export."""
    folder = tmp_path_factory.mktemp("way")
    before = Path.cwd()
    os.chdir(folder)
    try:
        arguments = ["dataset.count=80", "dataset.path=phantom", f"folder={folder / 'runs' / 'first'}", "export=true", *SMALL]
        assert main(["train", *arguments]) == 0
        assert main(["ingest", "dataset.count=80", "dataset.path=elsewhere", "dataset.seed=1", "dataset.split.test=1.0"]) == 0
    finally:
        os.chdir(before)
    return Way(folder)


@pytest.fixture
def here(way: Way, monkeypatch: pytest.MonkeyPatch) -> Way:
    """The same, as the current folder."""
    monkeypatch.chdir(way.folder)
    return way
