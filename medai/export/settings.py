"""The settings of an export: typed, with their defaults and their meaning. No torch here, so that `--help` is quick."""

from dataclasses import dataclass

from medai.core.error import MedaiError


@dataclass
class ExportSettings:
    """Everything `medai export` takes.

    Attributes:
        candidate: The run or checkpoint to export.
        output: Folder of the package; null is ``package`` in the run.
        zip: Write the package as one zip file, too.
        intended_use: One or two sentences for package.json and the model card.
        opset: ONNX opset; 18 is loaded by old runtimes, too.
        ir_version: ONNX file format; 8 is loaded by old runtimes, too.
        cohorts: Folder of the cohorts: parity is proved on the validation split.
        workers: Processes that prepare the pixels.
    """

    candidate: str
    output: str | None = None
    zip: bool = True
    intended_use: str = ""
    opset: int = 18
    ir_version: int = 8
    cohorts: str = "cohorts"
    workers: int = 2

    def __post_init__(self) -> None:
        if not 18 <= self.opset <= 24:  # antialiased Resize came with 18
            raise MedaiError(f"opset is {self.opset}; it must lie in [18, 24]")
