"""Workers end when the process that started them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from archcast.workers import prepare_worker

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        import os, torch
        worker = pool.submit(os.getpid).result()
        threads = pool.submit(torch.get_num_threads).result()
        Path(sys.argv[1]).write_text(f"{worker} {threads}")
        pool.submit(time.sleep, 120).result()
"""


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process nobody has waited for yet is dead, too.
    return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()


def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT)
    told = tmp_path / "worker"
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(told)]) as parent:
        until = time.monotonic() + 120
        while not (told.is_file() and told.read_text().count(" ")) and time.monotonic() < until:
            time.sleep(0.1)
        worker, threads = map(int, told.read_text().split())
        assert threads == 1
        assert alive(worker)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(worker)
