"""A fork waits until no thread of ours is inside a library that holds locks."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import pytest

import auditlog.capture.forking as forking
from auditlog.capture.forking import ForkGate, SameProcess


def _fork() -> int:
    """Fork a child that ends at once; its exit status."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_waits_for_whoever_is_inside() -> None:
    """Nobody is cut in two, and nobody enters while the fork happens."""
    gate, inside, events = ForkGate(), threading.Event(), list[str]()

    def work() -> None:
        with gate:
            inside.set()
            time.sleep(0.1)
            events.append("left")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    assert _fork() == 0
    events.append("forked")
    thread.join()
    assert events == ["left", "forked"]
    with gate:
        pass


def test_a_fork_waits_no_longer_than_its_patience() -> None:
    """A thread that hangs in a request does not keep the server from forking; later forks work as well."""
    gate, leave = ForkGate(), threading.Event()
    before, forking.PATIENCE_S = forking.PATIENCE_S, 0.05

    def hang() -> None:
        with gate:
            leave.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        assert _fork() == 0
    finally:
        forking.PATIENCE_S = before
        leave.set()
        thread.join()
    assert _fork() == 0


def test_the_child_enters_freely() -> None:
    """In the child none of the parent's threads exists, so nothing is waited for."""
    gate, inside, leave = ForkGate(), threading.Event(), threading.Event()
    before, forking.PATIENCE_S = forking.PATIENCE_S, 0.05

    def hang() -> None:
        with gate:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        with gate:
            os._exit(7)
    forking.PATIENCE_S = before
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("has_page", [True, False])
def test_a_child_knows_that_it_is_one(has_page: bool) -> None:
    """Also where the fork was one of C, of which the interpreter heard nothing; and so does its own child."""
    here = SameProcess()
    if not has_page:
        here._page = None
    reader, writer = os.pipe()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        found = [here.is_here()]
        here.renew()
        found.append(here.is_here())
        grandchild = os.fork()
        if grandchild == 0:
            os.write(writer, bytes([*found, here.is_here()]))
        else:
            os.waitpid(grandchild, 0)
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as told, os.fdopen(writer, "wb"):
        assert told.read(3) == bytes([False, True, False])
    assert here.is_here()
