"""What every test runs under: two event loops, no blocking call on either, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
import sys
import threading
from asyncio import constants
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from blockbuster import BlockBuster

from tests import checkers, lanes
from tests.servers.handle import Faults, running_faults

# asyncio's debug mode notes where each call and each future comes from. Without these two that is half of what tests take:
constants.DEBUG_STACK_DEPTH = 1  # type: ignore[misc]
linecache.checkcache = lambda filename=None: None  # no source changes while tests run, and each look is a system call

CASES = Path(os.environ.get("CRAWLER_CASES", Path(__file__).parents[2] / "shared" / "vectors"))
if CASES.is_dir():
    os.environ["CRAWLER_CASES"] = str(CASES)  # the fault server plays its wire scripts


def pytest_configure(config: pytest.Config) -> None:
    if sys.dont_write_bytecode and hasattr(config, "cache") and config.cache is not None:
        # Hundreds of processes would each compile the same modules again: pytest's cache keeps what one has compiled.
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("bytecode"))
        del os.environ["PYTHONDONTWRITEBYTECODE"]
    config.pluginmanager.register(lanes)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes long and needs nobody else begins now: most tests leave a core idle."""
    if session.config.option.collectonly or not lanes.begins_what_runs_beside(session):
        return
    files = {item.nodeid.partition("::")[0] for item in session.items}
    if "tests/test_house.py" in files:
        checkers.start()
    if "tests/test_corpus.py" in files and (CASES.parent / "corpus").is_dir():
        sys.modules["tests.test_corpus"].judging()


def pytest_sessionfinish() -> None:
    checkers.stop()


def third_party(name: str) -> Path:
    """A folder of third-party cases, or a skip with the reason. `corpus` lies beside the vectors."""
    folder = CASES / name if (CASES / name).exists() else CASES.parent / name
    if not folder.exists():
        pytest.skip(f"no third-party cases at {CASES}; set CRAWLER_CASES to the folder that holds them")
    return folder


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"debug": True}), id="asyncio"),
        pytest.param(("asyncio", {"loop_factory": uvloop.new_event_loop}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def no_blocking(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call on the loop fails the test that makes it."""
    if not asyncio.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    guard = BlockBuster("crawler")
    # An executor wakes its thread through a pipe that never fills: one byte, and only if none is in it.
    for name in ("os.write", "os.read"):
        guard.functions[name].can_block_in("concurrent/futures/process.py", {"wakeup", "submit"})
        guard.functions[name].can_block_in("multiprocessing/connection.py", {"send_bytes"})
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture(scope="session", autouse=True)
def frozen_objects_looked_at_in_the_end() -> Iterator[None]:
    """What was frozen and has become garbage since warns as well, if it was left open."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def old_objects_frozen() -> None:
    """What is there before a module stays: collecting garbage after each of its tests need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread and no worker process outlives its test."""
    threads = set(threading.enumerate())
    yield
    gc.collect()  # what is only garbage is not left; an unclosed transport warns here, and a warning fails
    left = [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("crawler")]
    assert not left, f"threads left behind: {left}"
    workers = [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]
    assert not workers, f"worker processes left behind: {workers}"


def _is_worker(process: psutil.Process) -> bool:
    """A grandchild below the fork server: the fork server itself stays, as multiprocessing has it."""
    try:
        parent = process.parent()
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and parent is not None
            and "forkserver" in " ".join(parent.cmdline())
        )
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def fault_server() -> Iterator[Faults]:
    """One fault server for the whole session."""
    with running_faults(hosts=("127.0.0.1", "127.0.0.2", "127.0.0.3")) as server:
        yield server


@pytest.fixture
def faults(fault_server: Faults) -> Faults:
    """The fault server with an empty log."""
    fault_server.reset()
    return fault_server
