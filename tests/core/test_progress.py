"""In a log file, progress is plain lines with a rate."""

import pytest

from medai.core import progress as module
from medai.core.progress import track


def test_a_log_file_gets_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(track(range(3), "Count", unit="things")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Count: 1 of 3 things, ")
    assert "s left" in lines[0]
    assert lines[-1].startswith("Count: 3 of 3 things, ")
    assert all("\x1b" not in line for line in lines)
