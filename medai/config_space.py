"""The search space on the command line: Hydra's grammar of overrides to dimensions. Like config, this knows Hydra."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override

from medai.core.error import MedaiError
from medai.sweep.space import Dimension

CHOSEN_BY_SWEEP = ("folder", "resume", "repeat", "sweep")


def split_space(overrides: Sequence[str]) -> tuple[tuple[Dimension, ...], tuple[str, ...]]:
    """What varies and what is fixed among overrides in Hydra's grammar.

    Raises:
        MedaiError: a dimension makes no sense, or a key is given twice.

    Example:
        >>> split_space(["seed=1", "model=choice(resnet18,vit)"])[1]
        ('seed=1',)
    """
    space: list[Dimension] = []
    fixed: list[str] = []
    seen: set[str] = set()
    for text in overrides:
        override = OverridesParser.create().parse_override(text)
        key = override.key_or_group
        if key in CHOSEN_BY_SWEEP:
            raise MedaiError(f"{key} is chosen by the sweep for each trial; leave it out (name=… names the sweep)")
        if key in seen and (override.is_sweep_override() or any(dimension.key == key for dimension in space)):
            raise MedaiError(f"{key} is given twice; leave one out")
        if override.is_sweep_override():
            space.append(_dimension(override, key))
        else:
            fixed.append(text)
        seen.add(key)
    return tuple(space), tuple(fixed)


def _dimension(override: Override, key: str) -> Dimension:
    sweep: Any = override.value()
    prefix = "+" * override.is_add() + "++" * override.is_force_add()
    log = "log" in getattr(sweep, "tags", ())
    if override.is_interval_sweep():
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        return Dimension(key, low=sweep.start, high=sweep.end, log=log, whole=whole, prefix=prefix)
    if isinstance(sweep, ChoiceSweep):
        return Dimension(key, options=tuple(dict.fromkeys(override.sweep_string_iterator())), prefix=prefix)
    if override.is_range_sweep():
        values = [float(text) for text in override.sweep_string_iterator()]
        whole = all(value == int(value) for value in (sweep.start, sweep.step))
        if len(values) < 2:
            raise MedaiError(f"{key} has {len(values)} value(s) to search; range(start,stop,step) leaves out its stop")
        return Dimension(key, low=values[0], high=values[-1], step=values[1] - values[0], whole=whole, prefix=prefix)
    raise MedaiError(f"{key} varies in a way that cannot be searched; write choice(…), range(…), interval(…) or tag(log, interval(…))")
