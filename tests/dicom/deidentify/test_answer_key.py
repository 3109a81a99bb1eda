"""The answer key: MIDI-B's ten actions on more than 500 elements, and the score that has to be reached."""

import io
from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from medai.cohort.key import Keys
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.file import deidentify_file
from tests.dicom.deidentify.answer_key import ACTIONS, Check, KeyedFile, keyed_file

KEYS = Keys(b"s" * 32)
PATIENTS = ("Hospital-0815", "Hospital-4711")
LISTS_OF_IDENTITY = ("date_shifted", "text_removed", "uid_changed", "uid_consistent")


def encode(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return stream.getvalue()


def reach(dataset: Dataset, path: tuple[Any, ...]) -> Any:
    """The value at a path, or None."""
    level: Any = dataset
    for step in path[:-1]:
        try:
            level = level[step] if isinstance(level, Dataset) is False else level[step].value
        except (KeyError, IndexError):
            return None
    return level[path[-1]].value if isinstance(level, Dataset) and path[-1] in level else None


class Scorer:
    """Scores checks by what came out; it sees files, never the code."""

    def __init__(self) -> None:
        self.uids: dict[str, str] = {}
        self.patients: dict[str, str] = {}
        self.shifts: dict[str, int] = {}
        self.counts: Counter[tuple[str, bool]] = Counter()
        self.failed: list[tuple[str, str]] = []

    def score(self, patient: str, file: KeyedFile, data: bytes) -> None:
        result = dcmread(io.BytesIO(data))
        for check in file.checks:
            passed = bool(getattr(self, f"_{check.action}")(check, reach(result, check.path), data, patient))
            self.counts[check.action, passed] += 1
            if not passed:
                where = " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" if tag > 99 else f"item {tag}" for tag in check.path)
                self.failed.append((check.action, f"{where} {check.original!r} -> {reach(result, check.path)!r}"))

    def rate(self, *actions: str) -> float:
        actions = actions or ACTIONS
        passed = sum(self.counts[action, True] for action in actions)
        return passed / (passed + sum(self.counts[action, False] for action in actions))

    def _text_removed(self, check: Check, value: Any, data: bytes, _: str) -> bool:
        texts = check.original if isinstance(check.original, list) else [check.original]
        for text in texts:
            raw = text if isinstance(text, bytes) else str(text).encode()
            words = [word for word in raw.split() if word.lower() not in (b"chest", b"ap", b"seen", b"by", b"private")]
            if any(word.lower() in data.lower() for word in words if len(word) > 5) or str(value) == str(text):
                return False
        return True

    def _text_retained(self, check: Check, value: Any, *_: Any) -> bool:
        return _plain(value) == _plain(check.original)

    def _text_notnull(self, check: Check, value: Any, *_: Any) -> bool:
        return value is not None and str(value) != ""

    def _tag_retained(self, check: Check, value: Any, data: bytes, _: str) -> bool:
        level: Any = dcmread(io.BytesIO(data))
        return len(check.path) == 1 and check.path[0] in level

    def _date_shifted(self, check: Check, value: Any, data: bytes, patient: str) -> bool:
        old, new = str(check.original), str(value or "")
        if len(new) < 8 or old[8:] != new[8:]:
            return False
        days = (_day(old) - _day(new)).days
        return days > 0 and self.shifts.setdefault(patient, days) == days

    def _uid_changed(self, check: Check, value: Any, data: bytes, _: str) -> bool:
        return bool(value) and str(value) != check.original and check.original.encode() not in data

    def _uid_consistent(self, check: Check, value: Any, *_: Any) -> bool:
        return bool(value) and self.uids.setdefault(check.original, str(value)) == str(value)

    def _patid_consistent(self, check: Check, value: Any, *_: Any) -> bool:
        return bool(value) and value != check.original and self.patients.setdefault(check.original, value) == value

    def _pixels_retained(self, check: Check, value: Any, *_: Any) -> bool:
        return bytes(value or b"") == check.original

    def _pixels_hidden(self, check: Check, value: Any, *_: Any) -> bool:
        pixels = np.frombuffer(value, np.uint8).reshape(check.original.shape)
        return bool((pixels[:8] == 0).all() and (pixels[8:] == check.original[8:]).all())


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _plain(value: Any) -> Any:
    parts = list(value) if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else [value]
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        return [str(part).strip() for part in parts]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    scorer = Scorer()
    for number, patient in enumerate(PATIENTS):
        first, second = 1 + 2 * number, 2 + 2 * number
        for instance, other in ((first, second), (second, first)):
            file = keyed_file(patient, instance, f"1.2.826.0.1.3680043.8.498.{other}.18")
            scorer.score(patient, file, deidentify_file(encode(file.dataset), KEYS).data)
    _score_ultrasound(scorer)
    return scorer


def _score_ultrasound(scorer: Scorer) -> None:
    file = keyed_file("Hospital-0815", 9, "1.2.826.0.1.3680043.8.498.1.18")
    file.checks.clear()
    pixels = np.full((16, 16), 255, np.uint8)
    dataset = file.dataset
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.6.1", "US"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 8, 8, 7
    file.plant(dataset, (), 0x7FE00010, "OB", pixels.tobytes())
    file.checks.append(Check("pixels_hidden", (0x7FE00010,), pixels))
    policy = BurnedIn.of([{"modality": "US", "rows": 16, "columns": 16, "hide": [[0, 0, 8, 16]]}])
    scorer.score("Hospital-0815", file, deidentify_file(encode(dataset), KEYS, burned_in=policy).data)


def test_the_answer_key_asks_every_action_of_at_least_500_elements(scorer: Scorer) -> None:
    file = keyed_file("P", 1, "1.2.3")
    assert len({check.path for check in file.checks}) >= 500
    assert {action for action, _ in scorer.counts} == set(ACTIONS)


@pytest.mark.parametrize("action", LISTS_OF_IDENTITY)
def test_every_text_date_and_uid_is_dealt_with(scorer: Scorer, action: str) -> None:
    assert scorer.rate(action) == 1, [failure for failure in scorer.failed if failure[0] == action]


def test_at_least_9993_of_10000_required_actions_are_right(scorer: Scorer) -> None:
    print({action: (scorer.counts[action, True], scorer.counts[action, False]) for action in ACTIONS})
    assert scorer.rate() >= 0.9993, "\n".join(map(str, scorer.failed))


def test_patients_get_different_names_and_shifts(scorer: Scorer) -> None:
    assert len(set(scorer.patients.values())) == 2 and len(set(scorer.shifts.values())) == 2


def test_the_score_of_an_untouched_file_is_bad() -> None:
    scorer = Scorer()
    file = keyed_file("P-00001", 1, "1.2.826.0.1.3680043.8.498.2.18")
    scorer.score("P-00001", file, encode(file.dataset))
    assert all(scorer.rate(action) == 0 for action in ("date_shifted", "uid_changed", "patid_consistent"))
    assert scorer.rate("text_removed") < 0.01
