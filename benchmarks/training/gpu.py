"""(g) GPU: images a second of ResNet-50 and DenseNet121 with bf16 and channels-last, compiled or not, alone and end to end."""

import torch

from medai.training.distributed import connected
from medai.training.settings import TrainingSettings
from training.harness import Part
from training.whole import Case, end_to_end, settings_of, synthetic

LIMIT_SECONDS = 480
CASES = (
    Case("ResNet-50, 224 px", {"_target_": "medai.model.network.resnet50"}, 224, 256, 4096),
    Case("DenseNet121, 224 px", {"_target_": "medai.model.network.densenet121"}, 224, 128, 4096),
    Case("DenseNet121, 512 px", {"_target_": "medai.model.network.densenet121"}, 512, 32, 1024),
)


def run(part: Part) -> None:
    """Measure where there is a GPU; else say so."""
    if not torch.cuda.is_available():
        part.note("torch sees no GPU here: nothing was measured")
        return
    part.found["gpu"] = torch.cuda.get_device_name()
    seconds = 2.0 if part.quick else 6.0
    with connected("cuda", 600.0) as group:
        for number, case in enumerate(CASES):
            for compiled in (False, True):
                training = TrainingSettings(
                    batch_size=case.batch, precision="auto", channels_last=True, compile=compiled, deterministic=False, accelerator="cuda"
                )
                settings = settings_of(case, part.work, training)
                name = f"{case.name}, {'compiled' if compiled else 'eager'}"
                subjects = {f"synthetic tensors, {name}": synthetic(settings, group, seconds)}
                subjects[f"end to end, {name}"] = end_to_end(settings, group, seconds)
                medians = part.repeat(subjects, 1 if part.quick else 3, "images/s", (number + 1) / len(CASES))
                part.verdict(
                    f"end to end / synthetic tensors, {name}", medians[f"end to end, {name}"] / medians[f"synthetic tensors, {name}"], 0.95
                )
                torch.compiler.reset()
