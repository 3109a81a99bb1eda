"""Evaluate a model or a table of predictions: `python evaluate.py key=value …`; `medai evaluate` is the same command.

The only reader of held-out labels.
"""

import sys

from medai.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
