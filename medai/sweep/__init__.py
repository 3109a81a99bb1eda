"""Search of the settings: a thin ask-and-tell over the current Optuna.

The search space is written in Hydra's own grammar of overrides. Hydra's Optuna sweeper is not used: its 1.3 brings Optuna 2.10 of
2021, knows neither pruning nor a trial's own folder, and cannot go on with a trial that was killed.
"""
