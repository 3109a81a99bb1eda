"""The demo: the commands of a person, in order, and an end that says what there is."""

from pathlib import Path

import pytest

from medai import demo


def test_the_demo_goes_the_whole_way_and_stops_at_the_first_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands: list[list[str]] = []
    failing: set[str] = set()

    def medai(command: list[str]) -> int:
        commands.append(command)
        return 2 if command[0] in failing else 0

    monkeypatch.setattr(demo, "medai", medai)
    image = tmp_path / "cohorts" / "phantom-files" / "300x96-seed0" / "images" / "a.dcm"
    image.parent.mkdir(parents=True)
    image.touch()
    assert demo.demo(["experiment=quick", "name=a"]) == 0
    assert [command[0] for command in commands] == ["train", "evaluate", "export", "verify", "predict"]
    assert commands[0] == ["train", "experiment=quick", "name=a", "folder=runs/a", "export=false"]
    assert commands[-1] == ["predict", "runs/a/package", "cohorts/phantom-files/300x96-seed0/images/a.dcm"]
    end = capsys.readouterr().out.split("The whole way took")[1]
    assert "runs/a/evaluation/test/report.html" in end
    assert "mlflow ui --backend-store-uri" in end
    commands.clear()
    failing.add("export")
    assert demo.demo(["experiment=quick", "name=a"]) == 2
    assert [command[0] for command in commands] == ["train", "evaluate", "export"]
