"""Train a model: `python train.py key=value …`. See `python train.py --help`; `medai train` is the same command."""

import sys

from medai.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
