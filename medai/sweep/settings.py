"""The settings of a sweep. No Optuna here, so that `--help` is quick."""

from dataclasses import dataclass, field

from medai.core.error import MedaiError

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")


@dataclass
class SweepSettings:
    """How the space is searched.

    Attributes:
        trials: Trainings in all, those of earlier calls of the same command included.
        sampler: ``tpe`` learns from the trials so far (Bergstra et al. 2011), ``random`` does not.
        startup: Trials that are drawn at random before ``tpe`` learns from them.
        pruner: What ends a hopeless trial early: ``median`` where it is worse than the median of the others after as many
            validations, ``hyperband`` by successive halving (Li et al. 2018), ``none``.
        warmup: Validations that every trial is given before it may be ended.
        seed: Decides what is drawn.
    """

    trials: int = 20
    sampler: str = "tpe"
    startup: int = 8
    pruner: str = "median"
    warmup: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for key, value, allowed in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in allowed:
                raise MedaiError(f"sweep.{key} is {value!r}; allowed: {', '.join(allowed)}")
        for key, number, low in (("trials", self.trials, 1), ("startup", self.startup, 1), ("warmup", self.warmup, 0)):
            if not low <= number <= 1_000_000:
                raise MedaiError(f"sweep.{key} is {number}; it must lie in [{low}, 1000000]")


@dataclass
class SweepCommand:
    """What `medai sweep` takes besides the keys of `medai train`.

    Attributes:
        sweep: How the space is searched.
    """

    sweep: SweepSettings = field(default_factory=SweepSettings)
