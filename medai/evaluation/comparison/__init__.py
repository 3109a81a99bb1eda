"""Several models on the same cases: differences, their intervals and tests, and non-inferiority."""
