"""Evaluations that end badly, for processes that have to import them."""

from __future__ import annotations

import os
import time

DEADLY = ("0", "1")


def die_or_score(spec: str) -> float:
    return die(spec) if spec.startswith(DEADLY) else float(spec.replace(".", ""))


def die(_: str) -> float:
    os._exit(7)


def hang(_: str) -> float:
    time.sleep(60)
    return 0.0
