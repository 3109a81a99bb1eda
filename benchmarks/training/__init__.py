"""The parts of benchmarks/training.py: one module a part, and under peers/ one module a library that medai is measured against."""
