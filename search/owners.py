"""Which process evaluates a trial, and whether it still lives: `host:pid:start`."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


def this_owner() -> str:
    """The name of this process; another one that gets the same number later starts at another time."""
    return _owner(os.getpid())


def is_alive(owner: str) -> bool:
    """Whether the process lives. One on another machine counts as alive: nobody here can tell."""
    host, pid, _ = owner.rsplit(":", 2) if owner.count(":") >= 2 else ("", "", "")
    if host != _host():
        return bool(host)
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # somebody else's process
    except (OSError, ValueError):
        return False
    return _owner(int(pid)) == owner


def _owner(pid: int) -> str:
    return f"{_host()}:{pid}:{_started(pid)}"


@lru_cache(1)
def _host() -> str:
    return socket.gethostname()


def _started(pid: int) -> str:
    """Clock ticks from boot to the start of a process, where /proc tells (Linux); else nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie has died; its parent has not looked yet.
    return "" if fields[0] == "Z" else fields[19]
