"""`fetch`: download the official label files, resumable, checked, never half there."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pooch
from tqdm.auto import tqdm

from archcast.datasets.atomic import storage_error
from archcast.datasets.home import download_folder
from archcast.datasets.sources import Source, SourceFile, get_source
from archcast.errors import ConfigError, DownloadError, MissingDataError, StorageError

_logger = logging.getLogger(__name__)
_CHUNK = 1 << 18
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
"""What a transfer can die of on the way; all of it is worth another attempt."""


def fetch(
    name: str,
    folder: str | Path | None = None,
    *,
    sources: Mapping[str, Source] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Download the official files of benchmark `name` and return where they are; files already there are kept.

    Args:
        folder: where to put them; `ARCHCAST_HOME/datasets` when left out, where `load_benchmark` finds them.
        sources: another catalogue than the built-in one.
        progress: show a progress bar.

    Raises:
        UnknownNameError: no such benchmark.
        MissingDataError: it has no official file that could be fetched; the message tells what to do instead.
        DownloadError: no server delivered the file (what has arrived is kept and resumed), or its checksum is wrong
            (what has arrived is removed).
        StorageError: the folder cannot be written or the disk is full.
    """
    source = get_source(name, sources)
    if not source.files:
        raise MissingDataError(f"{name} has no file to fetch. {source.instructions} See {source.home}.")
    target = download_folder() if folder is None else Path(folder).expanduser()
    return [_fetch_file(file, target, progress) for file in source.files]


def _fetch_file(file: SourceFile, folder: Path, progress: bool) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    failures = []
    for url in file.urls:
        downloader = ResumableDownloader(folder / f"{file.name}.part", size=file.size, progress=progress)
        try:
            return Path(pooch.retrieve(url, f"sha256:{file.sha256}", file.name, folder, downloader=downloader))
        except StorageError:
            raise
        except DownloadError as error:
            failures.append(str(error))
        except ValueError as error:  # pooch has removed the file
            failures.append(f"{url} delivered a file whose SHA-256 is not {file.sha256} (removed): {error}")
        except OSError as error:
            raise storage_error(folder / file.name, error) from error
    raise DownloadError(f"cannot fetch {file.name}: " + "; ".join(failures))


class ResumableDownloader:
    """A pooch downloader that goes on where a broken transfer stopped.

    Bytes are collected in `part`, which outlives a failure; a later call asks the server for the rest with an HTTP
    Range request, and starts over if the server sends everything.

    Args:
        part: file that collects the bytes.
        size: expected length in bytes, 0 if unknown.
        attempts: how often a connection is opened before giving up.
        pause: seconds before the second attempt; doubled before each further one.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    def __init__(
        self,
        part: Path,
        *,
        size: int = 0,
        attempts: int = 4,
        pause: float = 0.5,
        timeout: float = 30.0,
        progress: bool = True,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be at least 1, not {attempts}")
        self.part, self.size, self.attempts = part, size, attempts
        self.pause, self.timeout, self.progress = pause, timeout, progress

    def __call__(self, url: str, output_file: str | Path, _pooch: Any = None, check_only: bool = False) -> bool:
        """Fetch `url` into `output_file`; with `check_only` just ask whether the server has it."""
        if not url.startswith(("https://", "http://")):
            raise DownloadError(f"{url} is not a web address; use https://")
        if check_only:
            return self._is_available(url)
        reason = "no attempt was made"
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                self._receive(url)
                self._hand_over(Path(output_file))
                return True
            except urllib.error.HTTPError as error:
                reason = f"{url}: HTTP {error.code} {error.reason}"
                if error.code == 416:  # the part is longer than the file: it belongs to another version
                    self.part.unlink(missing_ok=True)
                elif error.code < 500:
                    break
            except _BROKEN as error:
                reason = f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            _logger.warning("attempt %d of %d: %s", attempt + 1, self.attempts, reason)
        raise DownloadError(f"{reason}. {self._kept()}Check the connection and run the command again.")

    def _receive(self, url: str) -> None:
        """One connection: append to the part what the server still has to send."""
        have = self.part.stat().st_size if self.part.exists() else 0
        if self.size and have == self.size:
            return
        request = urllib.request.Request(url, headers={"User-Agent": "archcast", "Accept-Encoding": "identity"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            resumed = response.status == 206
            have = have if resumed else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else self.size
            with self._open("ab" if resumed else "wb") as file, self._bar(have, total) as bar:
                while chunk := response.read(_CHUNK):
                    self._write(file, chunk)
                    bar.update(len(chunk))
                    have += len(chunk)
        if have < total:
            raise ConnectionError(f"the connection broke after {have:,} of {total:,} bytes")

    def _bar(self, have: int, total: int) -> Any:
        return tqdm(
            total=total or None,
            initial=have,
            desc=self.part.name.removesuffix(".part"),
            unit="B",
            unit_scale=True,
            disable=not self.progress,
            leave=False,
        )

    def _open(self, mode: str) -> IO[bytes]:
        try:
            return self.part.open(mode, buffering=0)  # unbuffered: a full disk shows at once, not when closing
        except OSError as error:
            raise storage_error(self.part, error) from error

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise storage_error(self.part, error) from error

    def _hand_over(self, output_file: Path) -> None:
        try:
            self.part.replace(output_file)
        except OSError as error:
            raise storage_error(output_file, error) from error

    def _kept(self) -> str:
        if not self.part.exists() or not self.part.stat().st_size:
            return ""
        return f"The {self.part.stat().st_size:,} bytes that arrived are kept in {self.part} and will be resumed. "

    def _is_available(self, url: str) -> bool:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return False
