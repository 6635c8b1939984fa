"""Every error archcast raises on purpose.

A leaf: it imports nothing, so that every folder can use it. Each class also derives from the
built-in error a caller would expect, and each message names the next step.
"""

from __future__ import annotations


class ArchcastError(Exception):
    """Base class of all errors archcast raises on purpose."""


class NetworkError(ArchcastError, ValueError):
    """An input that should be a network is not one, or is broken."""


class CaptureError(NetworkError):
    """A network could not be run or traced, so its graph is unknown."""


class GraphError(ArchcastError, ValueError):
    """A computation graph violates its own rules (cycle, dangling edge, bad shape)."""


class SpecError(ArchcastError, ValueError):
    """A benchmark specification does not belong to the search space it was given to."""


class UnknownNameError(ArchcastError, KeyError):
    """A benchmark, task, predictor or network name that does not exist."""

    def __str__(self) -> str:  # KeyError would print the repr, quotes and all
        return str(self.args[0]) if self.args else ""


class DataError(ArchcastError, ValueError):
    """A label table holds values that cannot be used (NaN, text, wrong length, duplicates)."""


class MissingDataError(ArchcastError, FileNotFoundError):
    """A data file is absent; the message says where it was looked for and how to get it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DownloadError(ArchcastError, OSError):
    """A download failed or its checksum differs."""


class NotFittedError(ArchcastError, ValueError, AttributeError):
    """A predictor was asked before it was fitted or loaded."""


class BundleError(ArchcastError, ValueError):
    """A saved predictor is truncated, of an unknown schema, or not safe to load."""


class ConfigError(ArchcastError, ValueError):
    """A configuration has unknown keys or values out of range."""


class StorageError(ArchcastError, OSError):
    """A file could not be written (disk full, read-only folder)."""


class MissingExtraError(ArchcastError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


def one_line(error: object, limit: int = 300) -> str:
    """What somebody else's error says, on one line of at most so many characters, for a message of ours."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[:limit]} ..."
