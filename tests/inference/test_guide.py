"""The guide docs/bring-any-model.md against the code."""

import re
from pathlib import Path

import yaml

from medai.config import settings
from medai.inference import contract, contract_file
from medai.inference.contract_file import read_contract

GUIDE = (Path(__file__).resolve().parents[2] / "docs/bring-any-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_every_contract_of_the_guide_is_read(tmp_path: Path) -> None:
    assert len(BLOCKS) == 4
    for number, block in enumerate(BLOCKS):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        assert read_contract(path).labels


def test_the_full_contract_names_every_key() -> None:
    full = yaml.load(BLOCKS[1], contract_file._Loader)
    assert set(full) == set(contract_file.TOP) - {"network"}
    assert set(full["input"]) == set(contract_file.INPUT) - {"pad"}
    assert set(full["input"]["intensity"]) == set(contract_file.INTENSITY) - {"lower", "upper"}
    assert set(full["input"]["accepts"]) == set(contract_file.ACCEPTS) and set(full["output"]) == set(contract_file.OUTPUT)
    for key in (
        *contract_file.LABEL,
        "pad",
        "lower",
        "upper",
        *contract.METHODS,
        *contract.INTERPOLATIONS,
        *contract.FITS,
        *contract.LAYOUTS,
    ):
        assert key in GUIDE


def test_the_commands_of_the_guide_compose() -> None:
    lines = re.findall(r"^\$ medai evaluate (.*)$", GUIDE, re.MULTILINE)
    chosen = [settings("evaluate", line.split()) for line in lines]
    assert len(chosen) == 2 and chosen[1].contract == "vendor.yaml" and chosen[1].dry_run
