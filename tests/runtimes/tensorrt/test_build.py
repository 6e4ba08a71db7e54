"""Graphs compiled for real, for GPUs that need not be there; and every way in which that fails, in a sentence."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest

from tests.runtimes.tensorrt.small import RANGES, is_malformed, needs_rtx, small_graph
from vidrestore.errors import CompilationError, UsageError, VidrestoreError
from vidrestore.runtimes.tensorrt.build import Built, Progress, Range, build_plan
from vidrestore.runtimes.tensorrt.product import find_product

pytestmark = needs_rtx


def build(
    model: bytes | None = None,
    ranges: dict[str, Range] | None = None,
    targets: Sequence[str] = ("SM89",),
    progress: Progress | None = None,
) -> Built:
    return build_plan(
        small_graph() if model is None else model, ranges or RANGES, targets, find_product("tensorrt_rtx"), progress
    )


def test_a_graph_is_compiled_for_gpus_that_are_not_here() -> None:
    one, three = build(), build(targets=("SM86", "SM89", "SM120"))
    assert not is_malformed(one.plan) and not is_malformed(three.plan)
    assert is_malformed(bytes(len(one.plan)))
    assert one.plan != three.plan and one.seconds > 0


def test_progress_only_grows_and_names_what_is_done() -> None:
    told: list[tuple[float, str]] = []
    build(progress=lambda share, doing: told.append((share, doing)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and 0.5 < shares[-1] <= 1
    assert all(doing for _, doing in told) and len({doing for _, doing in told}) > 3


def test_what_progress_raises_ends_the_compilation() -> None:
    told: list[float] = []

    def stop(share: float, doing: str) -> None:
        told.append(share)
        if share > 0.1:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        build(progress=stop)
    assert max(told) < 0.5
    assert build().plan  # and the next one works


def test_ctrl_c_ends_the_compilation_and_leaves_the_handlers_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    told: list[float] = []

    def interrupt(share: float, doing: str) -> None:
        told.append(share)
        if share > 0.1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(progress=interrupt)
    assert max(told) < 0.5
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def one_sentence(error: VidrestoreError) -> str:
    message = str(error.message)
    assert "\n" not in message and message.endswith(".") and ".cpp" not in message and "/_src" not in message
    return message


def test_an_operator_that_it_does_not_know_is_named() -> None:
    with pytest.raises(CompilationError) as raised:
        build(small_graph(activation="Nonsense"))
    assert "cannot read node 2 (Nonsense 'activation')" in one_sentence(raised.value)


def test_a_graph_that_it_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(CompilationError) as raised:
        build(small_graph(cast=False))
    assert "does not say why" not in one_sentence(raised.value)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (b"", "reads no graph in these 0 bytes"),
        (b"hello", "reads no graph in these 5 bytes"),
        (b"no graph", "cannot read this graph"),
    ],
)
def test_bytes_that_are_no_graph(model: bytes, why: str) -> None:
    with pytest.raises(CompilationError) as raised:
        build(model)
    assert why in one_sentence(raised.value)


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ({"pictures": RANGES["frames"]}, "has the inputs frames, but shapes are given for pictures"),
        ({"frames": ((1, 3, 64), (1, 3, 64), (1, 3, 64))}, "has 4 dimensions"),
        ({"frames": ((1, 4, 64, 64),) * 3}, r"frames \(\?, 3, \?, \?\) cannot have the shapes"),
        ({"frames": ((1, 3, 64, 64), (1, 3, 32, 64), (1, 3, 64, 64))}, "cannot have the shapes"),
        ({"frames": ((0, 3, 64, 64), (1, 3, 64, 64), (1, 3, 64, 64))}, "cannot have the shapes"),
    ],
)
def test_shapes_that_are_not_the_graphs(ranges: dict[str, Range], why: str) -> None:
    with pytest.raises(CompilationError, match=why) as raised:
        build(ranges=ranges)
    one_sentence(raised.value)


def test_gpus_that_it_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"does not compile for SM90\. It compiles for SM75"):
        build(targets=("SM89", "SM90"))
    with pytest.raises(UsageError, match="no compute capability"):
        build(targets=())
