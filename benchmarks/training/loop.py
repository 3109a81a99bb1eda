"""(b) Loop: steps a second of each training loop on the same network and the same batches in memory, with records and progress on."""

import os
import warnings
from collections.abc import Callable

from training.harness import Part, paired_ratio, terminal
from training.problem import TINY, Problem, problems

LIMIT_SECONDS = 200
REPETITIONS = {TINY: 7}


def run(part: Part) -> None:
    """Measure all loops on all networks."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    warnings.filterwarnings("ignore")
    from training.peers import bare_loop, lightning_trainer, our_loop, supervised_trainer

    loops: dict[str, Callable[[Problem], float]] = {
        "medai": our_loop.run, "bare loop": bare_loop.run, "MONAI SupervisedTrainer": supervised_trainer.run,
        "Lightning Trainer": lightning_trainer.run,
    }  # fmt: skip
    chosen = problems(part.quick, part.work)
    for number, problem in enumerate(chosen):
        if number == 0:
            for loop in loops.values():  # the first run of each imports, makes tables and warms the allocator
                _quietly(loop, Problem(problem.name, problem.make, problem.batches, 12, 2, part.work))
        subjects = {f"{name}, {problem.name}": _subject(loop, problem) for name, loop in loops.items()}
        part.repeat(subjects, 1 if part.quick else REPETITIONS.get(problem.name, 3), "steps/s", (number + 1) / len(chosen))
        for name in list(loops)[1:]:
            what = f"loop, medai / {name}, {problem.name}"
            ratio = paired_ratio(part, f"medai, {problem.name}", f"{name}, {problem.name}")
            if name == "bare loop":
                part.verdict(what, ratio, 0.97)
            elif problem.name == TINY:
                part.verdict(what, ratio, 1.0)
            else:  # a network that takes all the time: every loop is as fast as every other
                part.found["ratios"][what] = ratio


def _subject(loop: Callable[[Problem], float], problem: Problem) -> Callable[[], float]:
    return lambda: _quietly(loop, problem)


def _quietly(loop: Callable[[Problem], float], problem: Problem) -> float:
    with terminal():
        return loop(problem)
