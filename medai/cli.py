"""The command line: `medai ingest | train | ensemble | evaluate | …`. Nothing heavy is imported before it is needed.

Results go to stdout, everything else to stderr. What is wrong with the input ends in one line and exit code 2;
MEDAI_DEBUG=1 shows where it came from.
"""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import medai
from medai.core.error import MedaiError, Refusal
from medai.core.progress import say

if TYPE_CHECKING:
    from medai.device.package import FilePrediction
    from medai.export.settings import ExportSettings
    from medai.inference.settings import EvaluateSettings
    from medai.ingest.settings import IngestSettings
    from medai.sweep.space import SweepPlan
    from medai.training.settings import TrainSettings

OVERVIEW = f"""\
medai {medai.__version__}: train, evaluate and ship imaging-diagnosis models

  medai ingest    key=value …        fill a cohort from DICOM files, pictures, an npz file or the phantom
  medai train     key=value …        train a network (-m runs several)
  medai sweep     key=choice(…) …    search settings by validation, with Optuna
  medai ensemble  RUN RUN …          several runs, or the folds of a cross-validation, as one model
  medai evaluate  key=value …        score a run, a checkpoint, a package or a table of predictions
  medai export    candidate=RUN …    write the package: one ONNX graph, its contract and its vectors
  medai verify    PACKAGE            prove on this machine that a package answers as it was exported
  medai predict   PACKAGE FILE …     DICOM, PNG, JPEG, TIFF, BMP or npy to probability and decision
  medai info      [PATH]             this machine, or what a cohort, run or package is

  medai COMMAND --help               its settings and examples
"""
TRAIN_MODULES = {"torch", "monai", "mlflow", "lightning_fabric", "onnx", "onnxscript", "onnx_ir", "safetensors"}
PLAIN_MODULES = {"hydra", "omegaconf", "yaml", "antlr4", "polars", "blosc2", "scipy", "statsmodels", "matplotlib", "jinja2", "rich"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code: 0, 2 where the input was wrong, 128 and a signal's number where that ended it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except KeyboardInterrupt:
        say("medai: interrupted; what was finished before stays")
        return 130
    except BrokenPipeError:  # `medai … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = _line(error, given[0])
        if line is None:
            raise
        if os.environ.get("MEDAI_DEBUG"):
            traceback.print_exc()
        say("medai: " + " ".join(line.splitlines()))
        return int(getattr(error, "exit_code", 2))


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
        return 0
    if given[0] in ("-V", "--version", "version"):
        print(f"medai {medai.__version__}")
        return 0
    verb, rest = given[0], given[1:]
    if verb in COMPOSED:
        from medai.config import run

        run(verb, rest, COMPOSED[verb])
        return 0
    if verb in PLAIN:
        return PLAIN[verb](rest)
    raise MedaiError(f"there is no command {verb!r}; there are: {', '.join((*COMPOSED, *PLAIN))} (medai --help)")


def _line(error: Exception, verb: str) -> str | None:
    """The line for a person, or None where the fault is ours and its traceback is wanted."""
    if isinstance(error, MedaiError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        if module in TRAIN_MODULES | PLAIN_MODULES:
            extra = verb if verb in ("evaluate", "ingest") and module in PLAIN_MODULES else "train"
            return f"{verb} needs {module}, which is not installed: pip install 'medai[{extra}]'"
    if "No space left on device" in str(error):  # Polars and safetensors have error classes of their own for it
        return "the disk is full (No space left on device); make room and run the command again"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None


def train(settings: "TrainSettings") -> Path:
    """Train, export if the settings say so, and say where everything is."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # else torch's idle threads spin and starve the worker processes (by 20 % on 2 cores)
    from medai.tracking.run import tracking_uri
    from medai.training.train import train as fit

    run = fit(settings)
    if int(os.environ.get("RANK", "0")):  # of several ranks the first speaks and exports
        return run
    package = export_run(run, settings) if settings.export else None
    report = run / "validation" / "report.html"
    found = {"run": run, "report": report if report.exists() else None, "package": package}
    following = [f"medai evaluate {_setting('candidate', run)}"]
    following += [f"medai verify {_quoted(package)}"] if package else [f"medai export {_setting('candidate', run)}"]
    if settings.tracking.enabled:
        following.append(f"mlflow ui --backend-store-uri {_quoted(tracking_uri(settings.tracking, Path(settings.runs)))}")
    _conclude(found, following)
    return run


def sweep(plan: "SweepPlan") -> Path:
    """Search, and say where the results are."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from medai.core.file import read_json
    from medai.sweep.sweep import run_sweep
    from medai.training.train import Pruned
    from medai.training.train import train as fit

    folder = run_sweep(plan, fit, Pruned)
    best = read_json(folder / "sweep.json")["best"]
    following = [f"medai evaluate {_setting('candidate', best['folder'])}"] if best else []
    _conclude({"sweep": folder / "sweep.html", "figures": folder / "sweep.json"}, following)
    return folder


def export_run(run: Path, settings: "TrainSettings") -> Path:
    """Export a run with the defaults of `medai export`."""
    from medai.export.run import export_candidate
    from medai.export.settings import ExportSettings

    return Path(export_candidate(ExportSettings(candidate=str(run), cohorts=settings.cohorts, workers=settings.workers)))


def evaluate(settings: "EvaluateSettings") -> Path:
    """Evaluate, and say where the results are."""
    from medai.inference.evaluate import evaluate_candidate

    folder = evaluate_candidate(settings)
    files = {"report": folder / "report.html", "metrics": folder / "metrics.json", "predictions": folder / "predictions.parquet"}
    found = {name: path if path.exists() else None for name, path in files.items()}
    following = [f"medai export {_setting('candidate', settings.candidate)}"] if _is_run(settings.candidate) else []
    _conclude(found, following)
    return folder


def export(settings: "ExportSettings") -> Path:
    """Export, and say where the package is."""
    from medai.export.run import export_candidate

    package = Path(export_candidate(settings))
    archive = package.with_name(f"{package.name}.zip")
    following = [f"medai {verb}" for verb in (f"verify {_quoted(package)}", f"predict {_quoted(package)} FILE")]
    place = f" {_setting('cohorts', settings.cohorts)}" if settings.cohorts != type(settings).cohorts else ""
    following.append(f"medai evaluate {_setting('candidate', package)}{place}")
    _conclude({"package": package, "zip": archive if archive.exists() else None}, following)
    return package


def ingest(settings: "IngestSettings") -> Path:
    """Fill a cohort, and say where it is."""
    from medai.ingest.run import ingest_dataset

    path = ingest_dataset(settings).path
    _conclude({"cohort": path}, [f"medai info {_quoted(path)}"])
    return path


def _is_run(candidate: str | None) -> bool:
    return candidate is not None and any((Path(candidate) / name).exists() for name in ("checkpoint", "checkpoint.json"))


def _conclude(found: Mapping[str, Path | None], following: Sequence[str]) -> None:
    print()
    for name, path in found.items():
        if path is not None:
            print(f"{name:<12} {path}")
    for number, command in enumerate(following):
        print(f"{'next' if number == 0 else '':<12} {command}")


def _quoted(value: object) -> str:
    return shlex.quote(str(value))


def _setting(key: str, value: object) -> str:
    return shlex.quote(f"{key}={value}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MedaiError(f"{self.prog.removeprefix('medai ')}: {message} ({self.prog} --help)")


def _verify(arguments: list[str]) -> int:
    parser = _Parser(prog="medai verify", description="Prove on this machine that a package answers as it was exported.")
    parser.add_argument("package", help="the package: a folder or a zip file")
    chosen = parser.parse_args(arguments)
    from medai.device.verify import verify

    verify(chosen.package)
    return 0


def _predict(arguments: list[str]) -> int:
    parser = _Parser(
        prog="medai predict",
        description="Probability and decision for images. Of several files, the refused are listed at the end with their reasons.",
    )
    parser.add_argument("package", help="the package: a folder or a zip file")
    parser.add_argument("files", nargs="+", metavar="file", help="DICOM, PNG, JPEG, TIFF, BMP or npy")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV: file, probability.<label>, decision.<label>")
    chosen = parser.parse_args(arguments)
    from medai.device.package import Package

    package = Package.load(chosen.package)
    predictions: list[FilePrediction] = []
    refused: list[tuple[str, Refusal]] = []
    for file in chosen.files:
        try:
            predictions.append(package.predict_file(file))
        except Refusal as refusal:
            if len(chosen.files) == 1:
                raise
            refused.append((file, refusal))
    print(_predictions(predictions, package.columns, "json" if chosen.json else "csv" if chosen.csv else "table"))
    if refused:
        say(f"medai: {len(refused)} of {len(chosen.files)} files were refused:")
        for file, reason in refused:
            say(f"  {reason.code:<22} {reason.message if file in reason.message else f'{file}: {reason.message}'}")
    return 0 if predictions else 2


def _predictions(predictions: "Sequence[FilePrediction]", columns: Sequence[str], form: str) -> str:
    if form == "json":
        import json

        return json.dumps([prediction.to_dict() for prediction in predictions], indent=2, ensure_ascii=False)
    if form == "table":
        return "\n".join(_answer(prediction) for prediction in predictions)
    import csv
    import io

    labels = list(predictions[0].decision) if predictions else []
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", *(f"probability.{column}" for column in columns), *(f"decision.{label}" for label in labels)])
    for answer in predictions:
        probabilities = [f"{answer.probability[column]:.6f}" for column in columns]
        rows.writerow([answer.path, *probabilities, *(answer.decision[label] for label in labels)])
    return text.getvalue().rstrip("\n")


def _answer(prediction: "FilePrediction") -> str:
    lines = [str(prediction.path)]
    for label, decided in prediction.decision.items():
        classes = {column.removeprefix(f"{label}."): p for column, p in prediction.probability.items() if column.startswith(f"{label}.")}
        chances = ", ".join(f"{name} {p:.3f}" for name, p in classes.items()) or f"{prediction.probability[label]:.3f}"
        lines.append(f"  {label:<24} {decided:<24} probability {chances}")
    return "\n".join(lines)


def _ensemble(arguments: list[str]) -> int:
    parser = _Parser(
        prog="medai ensemble",
        description="Several runs as one model: of one split, or all folds of a cross-validation, whose out-of-fold figures are printed.",
    )
    parser.add_argument("runs", nargs="+", metavar="run", type=Path, help="runs or checkpoints of the same labels, input and cohort")
    parser.add_argument("--output", required=True, type=Path, help="the folder to make")
    parser.add_argument("--cohorts", default=Path("cohorts"), type=Path, help="folder of the cohorts")
    chosen = parser.parse_args(arguments)
    from medai.training.ensemble import ensemble

    folder = ensemble(chosen.runs, chosen.output, chosen.cohorts)
    following = [f"medai {verb} {_setting('candidate', folder)}" for verb in ("evaluate", "export")]
    _conclude({"ensemble": folder, "report": folder / "validation" / "report.html"}, following)
    return 0


def _info(arguments: list[str]) -> int:
    parser = _Parser(prog="medai info", description="This machine and its packages; or what a cohort, a run or a package is.")
    parser.add_argument("path", nargs="?", type=Path, help="a cohort, run, checkpoint or package")
    chosen = parser.parse_args(arguments)
    from medai.info import describe, machine

    facts = machine() if chosen.path is None else describe(chosen.path)
    for name, value in facts.items():
        print(f"{name:<22} {value}")
    return 0


COMPOSED: dict[str, Callable[[Any], object]] = {"ingest": ingest, "train": train, "sweep": sweep, "evaluate": evaluate, "export": export}
PLAIN: dict[str, Callable[[list[str]], int]] = {"verify": _verify, "predict": _predict, "ensemble": _ensemble, "info": _info}

if __name__ == "__main__":
    sys.exit(main())
