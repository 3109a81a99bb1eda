"""A damaged stream that ends its decoder costs one frame: not the program, and not the frames after it."""

import numpy as np
import pytest

import medai.dicom.apart
from medai.core.error import Refusal
from medai.dicom.read import read_dicom, read_frames
from tests.dicom.mutate import mutation, seeds

LOSSLESS = ["grey 1.2.840.10008.1.2.4.57", "grey 1.2.840.10008.1.2.4.70"]
ENDS_GDCM = [(755, 20261124), (1536, 20261124)]  # found by the fuzz run: GDCM 3.2.6 aborts on them


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_sound_frame_is_the_same_apart(name: str) -> None:
    data = seeds()[name]
    assert (read_frames(data, fast=False)[0] == read_frames(data, fast=True)[0]).all()
    assert np.ptp(read_dicom(data).pixels) > 0


@pytest.mark.parametrize(("number", "seed"), ENDS_GDCM)
def test_a_stream_that_ends_its_decoder_is_refused_and_the_next_is_read(number: int, seed: int) -> None:
    with pytest.raises(Refusal) as refusal:
        read_dicom(mutation(number, seed)[1])
    assert refusal.value.code == "decode-failed"
    assert read_dicom(seeds()[LOSSLESS[0]]).pixels.size


def test_a_decoder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.dicom.apart, "_child", None)  # one that has to start first cannot answer at once
    monkeypatch.setattr(medai.dicom.apart, "SECONDS", 0.0)
    with pytest.raises(Refusal, match="ended the decoder or held it up"):
        read_dicom(seeds()[LOSSLESS[0]])
    monkeypatch.undo()
    assert read_dicom(seeds()[LOSSLESS[0]]).pixels.size
