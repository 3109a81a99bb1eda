"""The state of a training on disk: everything that a resumed run needs to go on as if nothing had happened.

A state is a folder `state/step-00000120/` with `state.pt` (read with ``weights_only``, so it names no code) and its record
with the hash of that file. It is written beside its name and renamed when it is safe; older ones go only then.
"""

import io
import shutil
from pathlib import Path
from typing import Any

import torch

from medai.core.error import MedaiError
from medai.core.file import atomic_directory, hash_file, read_json, write_json
from medai.core.progress import say

STATE_SCHEMA_VERSION = "1.0"
STATE_RECORD = "state.json"
STATE_FILE = "state.pt"


def save_state(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Write a state, then remove all but the newest `keep`.

    Args:
        folder: `state/` of the run.
        state: Tensors, numbers, texts, and lists and dictionaries of them; `step` names it.
        keep: At least 1.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_directory(folder / f"step-{state['step']:08d}", replaces=STATE_RECORD) as temporary:
        (temporary / STATE_FILE).write_bytes(buffer.getbuffer())
        record = {"schema_version": STATE_SCHEMA_VERSION, "step": state["step"], "epoch": state["epoch"]}
        write_json(temporary / STATE_RECORD, record | {"sha256": hash_file(temporary / STATE_FILE)})
    for old in states(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for stray in [*folder.glob(".step-*.part"), *folder.glob(".step-*.old")]:  # of a killed process
        shutil.rmtree(stray, ignore_errors=True)


def states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / STATE_RECORD).is_file())


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest state that is whole; None where there is none. A damaged one is told and passed over.

    Raises:
        MedaiError: all are damaged, or one was written by a newer medai.
    """
    found = states(folder)
    for path in reversed(found):
        record = read_json(path / STATE_RECORD)
        version = str(record.get("schema_version"))
        if version.split(".")[0] != STATE_SCHEMA_VERSION.split(".")[0]:
            raise MedaiError(f"{path} has schema {version}, this medai reads {STATE_SCHEMA_VERSION}; use a matching medai")
        if (path / STATE_FILE).is_file() and hash_file(path / STATE_FILE) == record.get("sha256"):
            state: dict[str, Any] = torch.load(path / STATE_FILE, map_location="cpu", weights_only=True)
            return state
        say(f"{path} is damaged (its checksum differs); an older state is taken")
    if found:
        raise MedaiError(f"every state in {folder} is damaged; start the training anew")
    return None
