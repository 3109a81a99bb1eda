"""How a configuration says that the network, and what goes with it, is left to a plan."""

AUTO = "medai.planning.auto"  # `_target_` of the option `model=auto`
GROUPS = ("preprocessing", "augmentation", "model", "pretrained", "loss", "training")  # of settings that a plan may hold
