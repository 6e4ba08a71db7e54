"""Stop signals: noted, raised where it is safe, and asked for twice where there is patience."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from vidrestore.pipeline.interrupts import SIGNALS, Interrupts


@pytest.fixture(autouse=True)
def not_under_nohup() -> Iterator[None]:
    """Whoever runs the tests may have SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def send(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_the_first_signal_raises_where_there_is_no_patience() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.armed():
            send()
        assert interrupts.requested


@pytest.mark.parametrize("number", SIGNALS)
def test_with_patience_the_first_is_told_and_the_second_raises(number: signal.Signals) -> None:
    told: list[str] = []
    with Interrupts(1, lambda: told.append("first")) as interrupts:
        with interrupts.armed():
            send(number)
            assert interrupts.requested and told == ["first"]
        with pytest.raises(KeyboardInterrupt), interrupts.armed():
            send(number)
        send(number)  # nothing may interrupt the clean-up
        with interrupts.masked():
            send(number)
        assert told == ["first"]


def test_a_second_signal_outside_an_armed_part_waits_for_the_next() -> None:
    with Interrupts(1) as interrupts:
        send()
        send()
        with pytest.raises(KeyboardInterrupt), interrupts.armed():
            pytest.fail("it was to be raised at once")


def test_waits_are_woken_by_the_signal_that_raises() -> None:
    woken: list[int] = []
    with Interrupts(1) as interrupts:
        interrupts.wake(lambda: woken.append(1))
        send()
        assert not woken
        send()
        assert woken == [1]


def test_the_handlers_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts(1):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_the_parent_wants_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            send(signal.SIGHUP)
            assert not interrupts.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_the_background_of_a_shell_a_signal_that_is_sent_counts() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.armed():
            send()
    finally:
        signal.signal(signal.SIGINT, before)
