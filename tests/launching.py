"""Scripts that tests start in processes of their own, as `torchrun` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(script: Path, *arguments: str, processes: int = 2) -> subprocess.Popen[str]:
    """`script` in so many processes that know each other, with one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def finished(script: Path, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """What two processes of `script` said, after they ended."""
    with start(script, *arguments) as process:
        try:
            out, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
