"""`RayExecutor`: a `concurrent.futures.Executor` whose tasks run on the machines of a Ray cluster.

    with RayExecutor("10.0.0.1:6379", cpus=4, gpus=1) as executor:
        archcast.run_search(space, evaluate, executor=executor, batch=16, journal="run.db")

A task whose worker or machine dies starts again elsewhere, at most `retries` times. Ray's own retries are off, because
it repeats tasks that ran out of memory without end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from archcast.errors import ArchcastError, ConfigError, one_line
from archcast.shipping import import_ray, pack
from archcast.workers import use_threads

_PERIOD = 2.0  # seconds between looks at the cluster
_CONNECT = 10.0  # seconds for an address to answer; Ray itself would try for minutes


class WorkerError(ArchcastError, RuntimeError):
    """The workers of a task died, as often as it was started; or an error that only its machine can load."""


class ClusterError(ArchcastError, BrokenExecutor):
    """No task can run: no machine is left that has what a task needs, or workers cannot load what they are sent."""


@dataclass(eq=False)
class _Task:
    payload: tuple[str, list[Any], bytes]
    future: Future[Any] = field(default_factory=Future)
    starts: int = 0
    ref: Any = None


class RayExecutor(Executor):
    """Runs functions as Ray tasks; archcast has to be installed on every machine.

    Futures stay pending until their result is here, so that `cancel` works at any time; it kills the worker.

    Args:
        address: "local" starts Ray on this machine alone, "auto" finds the cluster this machine belongs to, "host:port"
            is its head. A Ray that this process has started already is used, and left running.
        cpus: cores of a task.
        gpus: GPUs of a task; may be a part of one.
        resources: further resources of a task, by the names they were given at `ray start --resources`.
        retries: how often a task starts again after its worker or machine has died.
        runtime_env: of Ray, as in `{"working_dir": "."}` or `{"pip": [...]}`. With `working_dir` or `py_modules` your
            modules are imported from there; without, they are sent along by value (`archcast.shipping`).
        patience: seconds to wait for a machine, after the last one that has what a task needs was lost.

    Raises:
        ConfigError: there is no cluster at `address`, no machine has what a task needs, or numbers out of range.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self,
        address: str = "local",
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        resources: Mapping[str, float] | None = None,
        retries: int = 2,
        runtime_env: Mapping[str, Any] | None = None,
        patience: float = 300.0,
    ) -> None:
        wanted = {"CPU": cpus, "GPU": gpus, **(resources or {})}
        if retries < 0 or patience < 0 or min(wanted.values()) < 0:
            raise ConfigError(f"retries={retries}, patience={patience}, {wanted}: none may be negative")
        self._ray = import_ray()
        self._wanted = {name: amount for name, amount in wanted.items() if amount}
        self._retries, self._patience = retries, patience
        self._by_value = not {"working_dir", "py_modules"} & set(runtime_env or {})
        self._owns_ray = _connect(self._ray, address, runtime_env)
        if not self.slots:
            error = self._unfit()
            self._leave()
            raise ConfigError(error)
        self._start_remote = self._ray.remote(_work).options(
            num_cpus=cpus, num_gpus=gpus, resources=dict(resources or {}), max_retries=0, scheduling_strategy="SPREAD",
            name="archcast",
        ).remote  # fmt: skip
        self._lock = threading.Lock()
        self._tasks: set[_Task] = set()
        self._closed, self._broken = False, ""
        self._unfit_since: float | None = None
        self._sent: tuple[Callable[..., Any], str, Any] | None = None
        self._ended: SimpleQueue[tuple[_Task, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="archcast-ray", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """How many tasks the machines that are there can run at the same time."""
        return sum(
            min((int(node["Resources"].get(name, 0) / amount) for name, amount in self._wanted.items()), default=1)
            for node in self._ray.nodes()
            if node["Alive"]
        )

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Start a task.

        Raises:
            ConfigError: the function or its arguments cannot be sent.
            ClusterError: no task can run any more.
        """
        arguments = pack((args, named), by_value=self._by_value)
        with self._lock:
            if self._broken:
                raise ClusterError(self._broken)
            if self._closed:
                raise RuntimeError("the executor was shut down; make another one")
            task = _Task((*self._function(function), arguments))
            self._tasks.add(task)
        task.future.add_done_callback(lambda _: self._forget(task))
        try:
            self._start(task)
        except Exception:
            task.future.cancel()  # shutdown must not wait for it
            raise
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
            futures = [task.future for task in self._tasks]
        if cancel_futures:
            for future in futures:
                future.cancel()
        if not wait:
            return  # tasks go on, and Ray with them until this process ends
        wait_for(futures)
        self._ended.put(None)
        self._thread.join()
        self._leave()

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)

    def _function(self, function: Callable[..., Any]) -> tuple[str, list[Any]]:
        """Digest of a function and, in a list so that Ray does not fetch it unasked, where its bytes are."""
        if self._sent is None or self._sent[0] is not function:
            data = pack(function, by_value=self._by_value)
            self._sent = (function, hashlib.blake2b(data).hexdigest(), self._ray.put(data))
        return self._sent[1], [self._sent[2]]

    def _start(self, task: _Task) -> None:
        task.starts += 1
        task.ref = self._start_remote(*task.payload, self._wanted.get("CPU", 1))
        task.ref.future().add_done_callback(lambda done: self._ended.put((task, done)))
        if task.future.cancelled():  # between the look at it and the start
            self._kill(task)

    def _forget(self, task: _Task) -> None:
        with self._lock:
            self._tasks.discard(task)
        if task.future.cancelled():
            task.future.set_running_or_notify_cancel()
            self._kill(task)

    def _kill(self, task: _Task) -> None:
        if task.ref is not None and self._ray.is_initialized():
            self._ray.cancel(task.ref, force=True)

    def _watch(self) -> None:
        """The thread that settles futures, starts tasks again and, when nothing comes, looks whether anything can."""
        while True:
            try:
                with suppress(Empty):
                    ended = self._ended.get(timeout=_PERIOD)
                    if ended is None:
                        return
                    self._settle(*ended)
                    continue
                self._look()
            except Exception as error:  # whatever it is, nobody may wait forever
                self._break(f"Ray failed ({type(error).__name__}: {error}); look at the cluster and start again")

    def _settle(self, task: _Task, done: Future[Any]) -> None:
        if task.future.done():
            return
        error = done.exception()
        if error is None:
            self._answer(task, *done.result())
            return
        raised = self._ray.exceptions
        if isinstance(error, (raised.RuntimeEnvSetupError, raised.TaskUnschedulableError)):
            self._break(f"Ray cannot start workers: {_line(error)}")
        elif not isinstance(error, raised.RayError) or isinstance(error, raised.RayTaskError):
            last = str(error).strip().rpartition("\n")[2]  # what a task raises is an answer, so it did not even begin
            self._break(f"workers cannot begin ({last}); install the same archcast on every machine")
        elif task.starts <= self._retries:
            self._start(task)
        else:
            times = "its worker died" if task.starts == 1 else f"its workers died, {task.starts} in a row"
            self._fail(task, WorkerError(f"{times}: {_line(error)}"))

    def _answer(self, task: _Task, kind: str, data: bytes) -> None:
        try:
            value = pickle.loads(data)
        except Exception as error:  # of a class that only the worker can import
            self._fail(task, error)
            return
        if kind == "unloadable":
            self._break(value)
        elif kind == "error":
            self._fail(task, value)
        else:
            with suppress(InvalidStateError):  # cancelled just now
                task.future.set_result(value)

    def _fail(self, task: _Task, error: BaseException) -> None:
        with suppress(InvalidStateError):  # cancelled just now
            task.future.set_exception(error)

    def _look(self) -> None:
        if not self._tasks or self.slots:
            self._unfit_since = None
        elif self._unfit_since is None:
            self._unfit_since = time.monotonic()
        elif time.monotonic() - self._unfit_since > self._patience:
            self._break(self._unfit())

    def _unfit(self) -> str:
        there = [
            {name: amount for name, amount in node["Resources"].items() if ":" not in name}
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        return f"no machine has {self._wanted}, which a task needs; there are {there}. Start one, or ask for less"

    def _break(self, reason: str) -> None:
        with self._lock:
            self._broken = reason
            tasks = list(self._tasks)
        for task in tasks:
            self._fail(task, ClusterError(reason))
            self._kill(task)

    def _leave(self) -> None:
        if self._owns_ray:
            self._owns_ray = False
            self._ray.shutdown()


def _connect(ray: Any, address: str, runtime_env: Mapping[str, Any] | None) -> bool:
    """Whether Ray was started or joined here, so that it is to be left in the end."""
    if address not in ("local", "auto"):
        _check_address(ray, address)
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in ("local", "auto", here) or runtime_env:
            raise ConfigError(
                f"this process has joined the Ray at {here} already: leave address and runtime_env out, or call "
                "ray.shutdown() before"
            )
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=address, runtime_env=dict(runtime_env or {}) or None, log_to_driver=False,
            logging_level=logging.ERROR, **options,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot join a Ray cluster at {address}: {_line(error)} Start one with `ray start --head`, and on the "
            "other machines with `ray start --address=HOST:6379`"
        ) from error
    return True


def _check_address(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError(f"{address!r} is no address of a Ray cluster: give host:port of its head, auto, or local")
    if host in ("localhost", "127.0.0.1"):
        host = ray.util.get_node_ip_address()  # that is where Ray would look
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()
    except OSError as error:
        raise ConfigError(
            f"nothing answers at {address} ({error}): start the head with `ray start --head --port={port}`, or give "
            "its address"
        ) from error


def _line(error: BaseException) -> str:
    """The first line of what Ray says."""
    return one_line(str(error).strip().partition("\n")[0])


def _work(digest: str, box: list[Any], arguments: bytes, cpus: float) -> tuple[str, bytes]:
    """On a worker: what the function gives ("result"), or raises ("error"); "unloadable" and why; pickled."""
    from ray import cloudpickle

    use_threads(max(1, int(cpus)))
    try:
        function = _function(digest, box)
        args, named = pickle.loads(arguments)
    except Exception as error:  # unpickling imports whatever is needed
        return "unloadable", pickle.dumps(
            f"{socket.gethostname()} cannot load what it is to run ({type(error).__name__}: {error}); install it on "
            "every machine, or name the folder of your modules: runtime_env={'working_dir': '.'}"
        )
    try:
        return "result", cloudpickle.dumps(function(*args, **named))
    except (Exception, SystemExit) as error:  # told to whoever waits
        return "error", cloudpickle.dumps(_portable(error))


_functions: dict[str, Callable[..., Any]] = {}  # of this worker, so that what one loads stays loaded


def _function(digest: str, box: list[Any]) -> Callable[..., Any]:
    if digest not in _functions:
        _functions.clear()
        _functions[digest] = pickle.loads(import_ray().get(box[0]))
    return _functions[digest]


def _portable(error: BaseException) -> BaseException:
    """An error that can be loaded elsewhere, with the lines where it was raised as a note."""
    from ray import cloudpickle

    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(cloudpickle.dumps(error))
        portable = error.with_traceback(None)
    except Exception:  # classes of functions, constructors that want other arguments
        portable = WorkerError(f"{type(error).__name__}: {error}")
    portable.add_note(f"on {socket.gethostname()}:\n{told}")
    return portable
