"""Functions and data for other machines, which have archcast and what pip installs, but not the user's own files.

What is defined in a script, in a file that was run, or in a module that is not installed goes along by value. Functions
under `functools.cache` do too, with an empty cache: data loaded once a process is loaded once a worker.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from archcast.errors import ConfigError, MissingExtraError

_lock = threading.Lock()  # what goes by value is noted in one place for the whole process


@dataclass(frozen=True)
class Shipped:
    """A function as bytes, for a process that cannot import it: `Shipped.of(f)(x) == f(x)`."""

    data: bytes

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Shipped:
        return cls(pack(function))

    def __call__(self, *args: Any, **named: Any) -> Any:
        return _unpacked(self.data)(*args, **named)


@functools.lru_cache(4)
def _unpacked(data: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = pickle.loads(data)  # from this program's own driver, never from a file
    return function


def pack(thing: Any, *, by_value: bool = True) -> bytes:
    """`thing` as bytes for `pickle.loads` on another machine.

    Args:
        by_value: whether modules that are not installed go along; otherwise they must be importable there.

    Raises:
        ConfigError: it holds what cannot be sent (an open file, a lock, a database).
        MissingExtraError: Ray, whose cloudpickle does it, is not installed.
    """
    buffer = io.BytesIO()
    with _lock, _own_modules() if by_value else nullcontext():
        try:
            _pickler()(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(thing)
        except Exception as error:  # pickling runs code of whatever is pickled
            raise ConfigError(
                f"{thing!r:.200} cannot be sent to another process ({type(error).__name__}: {error}); make open files, "
                "locks and connections inside the function, or name the folder of your modules: "
                "runtime_env={'working_dir': '.'}"
            ) from error
    return buffer.getvalue()


def import_ray() -> ModuleType:
    """The module `ray`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("many machines need Ray; run `pip install 'archcast[ray]'`") from error
    module: ModuleType = ray
    return module


@functools.cache
def _pickler() -> Any:
    import_ray()
    from ray import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # ray has no types here
        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, functools._lru_cache_wrapper) and _goes_along(thing.__module__):
                return _cached, (thing.__wrapped__, *thing.cache_parameters().values())
            return super().reducer_override(thing)

    return Pickler


def _cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Callable[..., Any]:
    return functools.lru_cache(maxsize, typed)(function)


def _goes_along(module: str) -> bool:
    from ray import cloudpickle

    return module == "__main__" or module not in sys.modules or module in cloudpickle.list_registry_pickle_by_value()


@contextmanager
def _own_modules() -> Iterator[None]:
    """All modules that are loaded and not installed are pickled by value."""
    import_ray()
    from ray import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    own = [module for name, module in list(sys.modules.items()) if name not in before and _is_own(name, module)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(name: str, module: Any) -> bool:
    if name.partition(".")[0] in ("__main__", "archcast") or getattr(module, "__name__", "") != name:
        return False
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not _is_installed(file)


@functools.cache  # asked for every loaded module whenever something is sent
def _is_installed(file: str) -> bool:
    path = Path(file)
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(
        sysconfig.get_path("stdlib")
    )
