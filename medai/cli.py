"""The command line: `medai ingest | train | ensemble | evaluate | …`. Nothing heavy is imported before it is needed.

Results go to stdout, everything else to stderr. What is wrong with the input ends in one line and exit code 2;
MEDAI_DEBUG=1 shows where it came from.
"""

import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medai
from medai.cli_data import DATA
from medai.cli_evaluation import EVALUATION
from medai.cli_freeze import FREEZE
from medai.cli_parser import Parser
from medai.cli_precision import PRECISION
from medai.cli_seal import SEAL
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
  medai audit     COHORT             leaks, near-duplicates and shortcuts in a cohort
  medai deidentify SOURCE TARGET     DICOM files without what names a patient
  medai cohort nifti COHORT CASE FILE.nii.gz   a case for any viewer
  medai train     key=value …        train a network (-m runs several)
  medai sweep     key=choice(…) …    search settings by validation, with Optuna
  medai plan      COHORT key=value … the recipe of model=auto for a cohort, and why each choice was made
  medai range-test key=value …       which learning rates a training takes, in a hundred steps
  medai bench     train key=value …  where the time of a training goes, and what to set
  medai ensemble  RUN RUN …          several runs, or the folds of a cross-validation, as one model
  medai evaluate  key=value …        score a run, a package, anyone's ONNX model or a table of predictions
  medai compare   A.parquet B.parquet …   several models on the same cases: differences, not only p-values
  medai freeze    TABLE --rule RULE  choose operating points on validation, into a hashed file
  medai precision [COHORT]           what intervals and power a test set buys, before it is opened
  medai seal      COHORT --key FILE  encrypt the test labels, with declared terms and a budget of attempts
  medai audit-ledger COHORT --key FILE    check a sealed test set and its ledger
  medai export    candidate=RUN …    write the package: one ONNX graph, its contract and its vectors
  medai verify    PACKAGE            prove on this machine that a package answers as it was exported
  medai predict   PACKAGE FILE …     DICOM, PNG, JPEG, TIFF, BMP or npy to probability and decision
  medai info      [PATH]             this machine, or what a cohort, run or package is

  medai COMMAND --help               its settings and examples
"""
RANGE_TEST = """\
usage: medai range-test [key=value …]

Train for a hundred steps with a growing learning rate, with the settings of medai train, and say where the loss falls fastest
and where it slows. The figure is written into the run's folder.

  medai range-test dataset=phantom model=resnet18 training.batch_size=64"""
SOME_REFUSED = 3  # exit code of medai predict
BENCH = """\
usage: medai bench input|model|train [key=value …] [--seconds N] [--json] [--output FILE]

Measure a training with the settings of medai train, in under a minute and without leaving a run:

  input     the loader: gather, draws, intensity and augmentation, each alone; images/s by number of workers
  model     the network on synthetic tensors: forward, backward, optimiser
  train     both, and the training itself; the stall ratio is the share of the time in which the network waits for images

  --seconds N     about how long it measures (36)
  --json          print JSON in place of the table
  --output FILE   write the JSON to a file, too

  medai bench train experiment=quick
  medai bench input dataset=folder dataset.path=images augmentation=standard workers=4"""
TRAIN_MODULES = {"torch", "monai", "mlflow", "optuna", "captum", "onnx", "onnxscript", "onnx_ir", "safetensors"}
PLAIN_MODULES = {
    "hydra",
    "omegaconf",
    "yaml",
    "antlr4",
    "polars",
    "blosc2",
    "scipy",
    "statsmodels",
    "matplotlib",
    "jinja2",
    "rich",
    "cryptography",
}


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

    run = fit(_planned(settings))
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

    folder = run_sweep(plan, lambda settings, watch=None: fit(_planned(settings), watch), Pruned)
    best = read_json(folder / "sweep.json")["best"]
    following = [f"medai evaluate {_setting('candidate', best['folder'])}"] if best else []
    _conclude({"sweep": folder / "sweep.html", "figures": folder / "sweep.json"}, following)
    return folder


def _planned(settings: "TrainSettings") -> "TrainSettings":
    from medai.planning.option import AUTO

    if settings.model.get("_target_") != AUTO:
        return settings
    from medai.planning.auto import planned

    return planned(settings)


def export_run(run: Path, settings: "TrainSettings") -> Path:
    """Export a run with the defaults of `medai export`."""
    from medai.export.run import export_candidate
    from medai.export.settings import ExportSettings

    return Path(export_candidate(ExportSettings(candidate=str(run), cohorts=settings.cohorts, workers=settings.workers)))


def evaluate(settings: "EvaluateSettings") -> Path:
    """Evaluate, and say where the results are."""
    from medai.inference.evaluate import evaluate_candidate

    folder = evaluate_candidate(settings)
    files = {
        "dry run": folder / "dry_run.html",
        "report": folder / "report.html",
        "metrics": folder / "metrics.json",
        "predictions": folder / "predictions.parquet",
    }
    others = [*sorted(folder.glob("dry_run.*.html")), *sorted(folder.glob("report*.*"))]
    files |= {path.name: path for path in others if path.name != "report.html"}
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


def _verify(arguments: list[str]) -> int:
    parser = Parser(prog="medai verify", description="Prove on this machine that a package answers as it was exported.")
    parser.add_argument("package", help="the package: a folder or a zip file")
    chosen = parser.parse_args(arguments)
    from medai.device.verify import verify

    verify(chosen.package)
    return 0


def _predict(arguments: list[str]) -> int:
    parser = Parser(
        prog="medai predict",
        description="Probability and decision for images. Of several files, the refused are listed at the end with their reasons.",
        epilog="Exit code: 0 where every file was accepted, 3 where some were refused, 2 where all were, or where the package is at fault.",
    )
    parser.add_argument("package", help="the package: a folder or a zip file")
    parser.add_argument("files", nargs="+", metavar="file", help="DICOM, PNG, JPEG, TIFF, BMP or npy")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON: a list; of several files an object of predictions and refused")
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
    if chosen.json and len(chosen.files) > 1:
        print(_json({"predictions": [each.to_dict() for each in predictions], "refused": [_reason(*each) for each in refused]}))
    else:
        print(_predictions(predictions, package.columns, "json" if chosen.json else "csv" if chosen.csv else "table"))
    if refused:
        say(f"medai: {len(refused)} of {len(chosen.files)} files were refused:")
        for file, reason in refused:
            say(f"  {reason.code:<22} {reason.message if file in reason.message else f'{file}: {reason.message}'}")
    return 0 if not refused else SOME_REFUSED if predictions else 2


def _reason(file: str, refusal: Refusal) -> dict[str, str]:
    return {"path": file, "code": refusal.code, "message": refusal.message}


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)


def _predictions(predictions: "Sequence[FilePrediction]", columns: Sequence[str], form: str) -> str:
    if form == "json":
        return _json([prediction.to_dict() for prediction in predictions])
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
    parser = Parser(
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


def _plan(arguments: list[str]) -> int:
    parser = Parser(
        prog="medai plan",
        description="The recipe of model=auto for a cohort, and why each choice was made. Settings as of medai train are kept as given, "
        "e.g. model.budget_minutes=20 preprocessing.height=128; nothing of the test part is read.",
    )
    parser.add_argument("cohort", type=Path, help="the cohort: a folder that medai ingest has filled")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings to keep, as of medai train")
    parser.add_argument("--output", type=Path, help="write plan.yaml, plan.json and the range test's figure into this folder")
    parser.add_argument("-cd", "--config-dir", help="join your own tree of configurations")
    chosen = parser.parse_intermixed_args(arguments)
    from medai.cohort.cohort import Cohort
    from medai.config import settings

    cohort, joined = Cohort.open(chosen.cohort), ["--config-dir", chosen.config_dir] if chosen.config_dir else []
    filled_in = settings("train", ["model=auto", *chosen.settings, *joined])
    from medai.planning.auto import plan_for
    from medai.planning.write import table, write_plan

    plan = plan_for(cohort, filled_in)
    print(table(plan, shutil.get_terminal_size((140, 24)).columns))
    if chosen.output:
        written = write_plan(plan, chosen.output)
        _conclude({"plan": written}, [f"medai train model=auto {_setting('model.plan', written)} dataset=…"])
    return 0


def _range_test(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(RANGE_TEST)
        return 0
    from medai.config import run

    run("train", arguments, _test_rates)
    return 0


def _test_rates(settings: "TrainSettings") -> None:
    from medai.training.range_test import record_range_test

    folder, found = record_range_test(_planned(settings))
    for name, value in (("falls fastest", found.steepest), ("has slowed", found.slowing), ("is lowest", found.lowest)):
        print(f"the loss {name:<14} at a learning rate of {value:.1e}")
    rate = found.suggestion(settings.training.schedule)
    _conclude({"figure": folder / "range_test.svg"}, [f"medai train training.optimizer.lr={rate:.1e} …"])


def _bench(arguments: list[str]) -> int:
    parser = Parser(prog="medai bench", add_help=False, allow_abbrev=False)
    parser.add_argument("part", choices=["input", "model", "train"])
    parser.add_argument("--seconds", type=float, default=36.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(BENCH)
        return 0
    chosen, rest = parser.parse_known_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a training
    from medai.config import run

    def measure(settings: "TrainSettings") -> None:
        from medai.bench.bench import bench, record

        settings = _planned(settings)
        report = bench(chosen.part, settings, chosen.seconds)
        if chosen.output:
            from medai.core.file import write_json

            write_json(chosen.output, record(report, settings))
        if chosen.json:
            import json

            print(json.dumps(record(report, settings), indent=2, ensure_ascii=False))
        else:
            print(report.text())

    run("train", rest, measure)
    return 0


def _info(arguments: list[str]) -> int:
    parser = Parser(prog="medai info", description="This machine and its packages; or what a cohort, a run or a package is.")
    parser.add_argument("path", nargs="?", type=Path, help="a cohort, run, checkpoint or package")
    chosen = parser.parse_args(arguments)
    from medai.info import describe, machine

    facts = machine() if chosen.path is None else describe(chosen.path)
    for name, value in facts.items():
        print(f"{name:<22} {value}")
    return 0


COMPOSED: dict[str, Callable[[Any], object]] = {"ingest": ingest, "train": train, "sweep": sweep, "evaluate": evaluate, "export": export}
PLAIN: dict[str, Callable[[list[str]], int]] = {
    "plan": _plan,
    "range-test": _range_test,
    "bench": _bench,
    "ensemble": _ensemble,
    "verify": _verify,
    "predict": _predict,
    "info": _info,
    **DATA,
    **EVALUATION,
    **FREEZE,
    **PRECISION,
    **SEAL,
}

if __name__ == "__main__":
    sys.exit(main())
