"""The command line: verbs, exit codes, one line for every fault. The engines behind it are stand-ins here."""

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from medai import cli
from medai.core.error import MedaiError, Refusal
from medai.core.label import Label

ROOT = Path(__file__).resolve().parents[1]


def _stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **members: Any) -> None:
    fake = types.ModuleType(module)
    fake.__dict__.update(members)
    monkeypatch.setitem(sys.modules, module, fake)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDAI_DEBUG", raising=False)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-in for the training was given."""
    given: list[Any] = []

    def train(settings: Any) -> Path:
        given.append(settings)
        run = Path(settings.folder)
        (run / "validation").mkdir(parents=True)
        (run / "validation" / "report.html").touch()
        return run

    _stand_in(monkeypatch, "medai.training.train", train=train)
    return given


class _Package:
    """A package that knows two labels and refuses what is called bad."""

    columns = ("pneumonia", "stage.mild", "stage.severe", "stage.none")
    labels = (Label("pneumonia", "binary", ("no", "yes")), Label("stage", "ordinal", ("none", "mild", "severe")))

    @staticmethod
    def load(path: str) -> "_Package":
        if not Path(path).exists():
            raise MedaiError(f"{path} does not exist; give a package's directory or zip file")
        return _Package()

    def predict_file(self, path: str) -> Any:
        from medai.device.package import FilePrediction

        if "bad" in path:
            raise Refusal("unreadable-picture", f"{path} cannot be read as a picture (truncated)")
        probability = {"pneumonia": 0.9, "stage.mild": 0.2, "stage.severe": 0.7, "stage.none": 0.1}
        return FilePrediction(Path(path), (8, 8), probability, probability, {"pneumonia": "yes", "stage": "severe"})


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    from medai.device import package as module

    monkeypatch.setattr(module, "Package", _Package)
    (tmp_path / "package").mkdir()
    return "package"


def test_train_says_where_the_run_is_and_what_comes_next(trained: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "name=my run", "runs=my runs", "seed=4"]) == 0
    text = capsys.readouterr().out
    assert trained[0].seed == 4
    assert "run          my runs/my-run\n" in text
    assert "report       my runs/my-run/validation/report.html\n" in text
    assert "medai evaluate 'candidate=my runs/my-run'" in text
    assert "mlflow ui --backend-store-uri" in text


def test_train_exports_when_the_settings_say_so(
    trained: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = []

    def export_candidate(settings: Any) -> Path:
        exported.append(settings)
        return Path(settings.candidate) / "package"

    _stand_in(monkeypatch, "medai.export.run", export_candidate=export_candidate)
    assert cli.main(["train", "name=a", "export=true", "cohorts=data"]) == 0
    assert (exported[0].candidate, exported[0].cohorts) == ("runs/a", "data")
    assert "medai verify runs/a/package" in capsys.readouterr().out


def test_evaluate_says_where_the_results_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def evaluate_candidate(settings: Any) -> Path:
        (folder := Path("results")).mkdir()
        (folder / "report.html").touch()
        (folder / "metrics.json").touch()
        return folder

    _stand_in(monkeypatch, "medai.inference.evaluate", evaluate_candidate=evaluate_candidate)
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    assert cli.main(["evaluate", "candidate=run"]) == 0
    text = capsys.readouterr().out
    assert "report       results/report.html" in text
    assert "predictions" not in text
    assert "medai export candidate=run" in text


def test_a_fault_of_the_input_is_one_line_and_exit_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(settings: Any) -> Path:
        raise MedaiError("dataset.path nowhere does not exist;\ngive another")

    _stand_in(monkeypatch, "medai.training.train", train=train)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "medai: dataset.path nowhere does not exist; give another\n"
    assert cli.main(["train", "sead=1"]) == 2
    assert capsys.readouterr().err == "medai: sead is unknown; did you mean seed?\n"


def test_debugging_shows_where_a_fault_came_from(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MEDAI_DEBUG", "1")
    assert cli.main(["train", "sead=1"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(settings: Any) -> Path:
        raise ZeroDivisionError("ours")

    _stand_in(monkeypatch, "medai.training.train", train=train)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["train"])


def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        def run(settings: Any) -> Path:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return run

    _stand_in(monkeypatch, "medai.training.train", train=missing("torch"))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "medai: train needs torch, which is not installed: pip install 'medai[train]'\n"
    _stand_in(monkeypatch, "medai.inference.evaluate", evaluate_candidate=missing("polars"))
    assert cli.main(["evaluate", "candidate=x"]) == 2
    assert "pip install 'medai[evaluate]'" in capsys.readouterr().err


def test_a_full_disk_or_a_forbidden_folder_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(settings: Any) -> Path:
        raise PermissionError(13, "Permission denied", "/root/runs")

    _stand_in(monkeypatch, "medai.training.train", train=train)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "medai: /root/runs: Permission denied\n"


def test_an_interrupt_is_one_line_and_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(settings: Any) -> Path:
        raise KeyboardInterrupt

    _stand_in(monkeypatch, "medai.training.train", train=train)
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err.startswith("medai: interrupted")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "there is no command 'trian'; there are: ingest, train, sweep, evaluate, export, plan, range-test, bench"),
        (["verify"], "verify: the following arguments are required: package"),
        (["verify", "nowhere"], "nowhere does not exist; give a package's directory or zip file"),
        (["predict", "nowhere"], "predict: the following arguments are required: file"),
        (["predict", "a", "b", "--xml"], "unrecognized arguments: --xml"),
        (["info", "nowhere"], "nowhere does not exist; give a cohort, run, checkpoint or package"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_predict_prints_an_answer_for_people(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "chest 1.dcm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chest 1.dcm"
    assert lines[1].split() == ["pneumonia", "yes", "probability", "0.900"]
    assert lines[2].split() == ["stage", "severe", "probability", "mild", "0.200,", "severe", "0.700,", "none", "0.100"]


def test_predict_prints_json_and_csv_for_programs(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "a.png", "b.png", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [(answer["path"], answer["decision"]["stage"]) for answer in answers["predictions"]] == [
        ("a.png", "severe"),
        ("b.png", "severe"),
    ]
    assert answers["refused"] == []
    assert cli.main(["predict", package, "a.png", "--json"]) == 0
    assert [answer["path"] for answer in json.loads(capsys.readouterr().out)] == ["a.png"]
    assert cli.main(["predict", package, "a, b.png", "--csv"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split(",")[:2] == ["file", "probability.pneumonia"]
    assert row == '"a, b.png",0.900000,0.200000,0.700000,0.100000,yes,severe'


def test_a_bad_file_among_several_is_listed_with_its_reason_and_the_rest_go_on(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "a.png", "bad.png", "c.png"]) == 3
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line.endswith("png")] == ["a.png", "c.png"]
    assert "1 of 3 files were refused" in printed.err
    assert "unreadable-picture     bad.png cannot be read" in printed.err


def test_a_bad_file_among_several_stands_in_the_json_too(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "a.png", "bad.png", "--json"]) == 3
    answers = json.loads(capsys.readouterr().out)
    assert [answer["path"] for answer in answers["predictions"]] == ["a.png"]
    assert answers["refused"] == [
        {"path": "bad.png", "code": "unreadable-picture", "message": "bad.png cannot be read as a picture (truncated)"}
    ]


def test_files_that_are_all_refused_are_exit_code_2(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "bad.png", "bad too.png", "--json"]) == 2
    assert [each["path"] for each in json.loads(capsys.readouterr().out)["refused"]] == ["bad.png", "bad too.png"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["predict", "--help"])
    assert "3 where some were refused" in " ".join(capsys.readouterr().out.split())


def test_a_bad_file_by_itself_is_one_line_and_exit_code_2(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", package, "bad.png"]) == 2
    assert capsys.readouterr().err == "medai: bad.png cannot be read as a picture (truncated)\n"


def test_info_tells_about_the_machine_and_about_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    assert "python" in capsys.readouterr().out
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    description = {
        "preprocessing": {"resize": {"height": 96, "width": 80, "channels": 1}},
        "model": {"_target_": "medai.model.network.vit"},
        "labels": [_Package.labels[0].to_dict()],
        "thresholds": {"pneumonia": 0.25},
        "record": {"seed": 3, "cohort": {"name": "phantom", "hash": "abc"}},
    }
    (tmp_path / "run" / "checkpoint" / "checkpoint.json").write_text(json.dumps(description))
    assert cli.main(["info", "run"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.split()[1:])
    assert facts["labels"] == "pneumonia (binary: no, yes)"
    assert facts["input"] == "96 x 80 pixels, 1 channel(s)"
    assert facts["threshold.pneumonia"] == "0.2500"
    assert facts["cohort"] == "phantom abc"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}", "'preprocessing' is missing"),
        ('{"preprocessing": {"resize": 3}, "model": {}, "labels": []}', "not subscriptable"),
        ("[]", "no attribute"),
    ],
)
def test_info_on_a_damaged_checkpoint_is_one_line(content: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.json").write_text(content)
    assert cli.main(["info", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"medai: {tmp_path}/checkpoint.json is damaged (")
    assert what in error
    assert error.count("\n") == 1


def test_help_and_version_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert cli.main(arguments) == 0
        assert "medai predict   PACKAGE FILE" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("medai ")


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_the_root_scripts_are_the_same_commands(script: str, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, ROOT / script, "sead=1"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "medai: sead is unknown; did you mean seed?\n")
