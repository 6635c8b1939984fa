"""Train a predictor: `python train.py --output DIR` is `archcast train --output DIR` (see `--help`)."""

import sys

from archcast.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
