"""A sealed test set: its labels are encrypted, its evaluations are counted, and only what is released leaves the evaluator."""
