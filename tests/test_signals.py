"""SIGINT and SIGTERM: at once where nothing can be lost, noted where something can be saved, and always an end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fmnist_jax import signals

BOTH = pytest.mark.parametrize("signum", signals.SIGNALS)


def send(signum):
    os.kill(os.getpid(), signum)


def stopped(work) -> signals.Interrupted:
    """What was raised within `work`, given what it hears."""
    with pytest.raises(signals.Interrupted) as stop, signals.listen() as heard:
        work(heard)
    return stop.value


@BOTH
def test_where_nothing_is_held_it_is_raised_at_once(signum):
    before, after = signal.getsignal(signum), []

    def work(heard):
        send(signum)
        after.append("not raised")

    stop = stopped(work)
    assert str(stop) == "stopped, all saved; the same command goes on from there"
    assert (stop.signum, after) == (signum, [])
    assert signal.getsignal(signum) == before
    assert signals._heard is None


@BOTH
def test_what_is_held_is_done_first_and_may_be_within_another(signum):
    done = []

    def work(heard):
        with heard.held():
            with heard.held():
                send(signum)
                done.append(heard.received)
            done.append("saved")
        done.append("not raised")

    stopped(work)
    assert done == [signum, "saved"]


def test_a_holder_that_raises_it_itself_says_the_step():
    def work(heard):
        with heard.held():
            send(signal.SIGTERM)
            raise signals.Interrupted(heard.received, 1200)

    assert str(stopped(work)).startswith("stopped at step 1,200, all saved")


def test_it_is_taken_for_no_failure():
    def work(heard):
        try:
            send(signal.SIGTERM)
        except Exception:
            pytest.fail("caught")

    stopped(work)


def test_a_listener_within_another_is_the_same():
    with signals.listen() as outer:
        with signals.listen() as inner:
            assert inner is outer
        assert signals._heard is outer


def test_in_another_thread_there_are_no_handlers():
    found = []

    def listening():
        with signals.listen() as heard, heard.held():
            found.append(heard.received)

    thread = threading.Thread(target=listening)
    thread.start()
    thread.join()
    assert found == [0]


DEAF = """
import sys, time
from fmnist_jax import signals
signals.SECONDS = float(sys.argv[1])
with signals.listen() as heard, heard.held():
    print("ready", flush=True)
    time.sleep(30)  # as compiling
"""


def deaf(seconds):
    """A process that holds, and looks at no signal."""
    child = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


@BOTH
def test_a_second_one_ends_it_on_the_spot(signum):
    child, start = deaf(60), time.monotonic()
    child.send_signal(signum)
    time.sleep(0.2)
    child.send_signal(signum)
    _, said = child.communicate(timeout=10)
    assert child.returncode == 128 + signum
    assert "stopped at once; the same command goes on" in said
    assert time.monotonic() - start < 5


@BOTH
def test_whoever_looks_at_none_is_ended_after_a_while(signum):
    child = deaf(0.5)
    child.send_signal(signum)
    _, said = child.communicate(timeout=10)
    assert child.returncode == 128 + signum
    assert "stopped: nothing could be saved for 0.5 s; the same command goes on" in said
