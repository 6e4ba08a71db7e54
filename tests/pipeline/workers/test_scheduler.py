"""The scheduler: order, stealing, losses, copies at the end; and, over random histories, that nothing is lost or kept twice."""

from __future__ import annotations

import random
import threading

import pytest

from vidrestore.pipeline.segment import Segment
from vidrestore.pipeline.workers.scheduler import Scheduler


def segments(*numbers: int) -> list[Segment]:
    return [Segment(number, first=240 * number, count=240) for number in numbers]


def given(scheduler: Scheduler, worker: str) -> int | None:
    segment = scheduler.next(worker)
    return None if segment is None else segment.number


def test_one_worker_gets_them_in_order() -> None:
    scheduler = Scheduler(segments(2, 0, 1))
    assert [given(scheduler, "a") for _ in range(4)] == [0, 1, 2, None]
    assert scheduler.in_flight == (0, 1, 2) and scheduler.remaining == 3 and not scheduler.complete
    assert [scheduler.done("a", number) for number in (0, 1, 2)] == [True, True, True]
    assert scheduler.complete and scheduler.in_flight == () and scheduler.remaining == 0
    assert given(scheduler, "a") is None


def test_nothing_to_do_is_complete() -> None:
    scheduler = Scheduler([])
    assert scheduler.complete and given(scheduler, "a") is None


def test_two_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="same number"):
        Scheduler(segments(0, 1, 1))


def test_a_second_worker_begins_in_the_middle_and_both_go_on() -> None:
    scheduler = Scheduler(segments(*range(9)))
    assert given(scheduler, "a") == 0
    assert given(scheduler, "b") == 5  # 1 to 8 are free: 1-4 for the one on its way, 5-8 for the new one
    assert [given(scheduler, "a") for _ in range(4)] == [1, 2, 3, 4]
    assert given(scheduler, "a") == 7  # of 6, 7, 8, which b is coming into
    assert given(scheduler, "b") == 6
    assert given(scheduler, "a") == 8


def test_a_run_that_nobody_comes_into_is_begun_at_its_start() -> None:
    scheduler = Scheduler(segments(0, 1, 2, 3, 10, 11, 12))
    assert given(scheduler, "a") == 0
    assert given(scheduler, "b") == 10  # 10 to 12 entire, longer than half of 1 to 3


def test_one_that_moved_away_is_not_on_its_way() -> None:
    scheduler = Scheduler(segments(0, 1, 2, 3))
    assert given(scheduler, "a") == 0
    scheduler.done("a", 0)
    assert given(scheduler, "b") == 1  # a is idle, and would have asked


def test_what_a_lost_worker_had_is_free_again() -> None:
    scheduler = Scheduler(segments(0, 1, 2, 3))
    assert (given(scheduler, "a"), given(scheduler, "b"), given(scheduler, "a")) == (0, 2, 1)
    assert [segment.number for segment in scheduler.lost("a")] == [0, 1]
    assert scheduler.in_flight == (2,) and scheduler.remaining == 4
    assert scheduler.lost("a") == []
    assert [given(scheduler, "c") for _ in range(2)] == [0, 1]


def test_a_late_result_of_a_lost_worker_counts() -> None:
    scheduler = Scheduler(segments(0, 1))
    given(scheduler, "a")
    scheduler.lost("a")
    assert scheduler.done("a", 0)
    assert given(scheduler, "b") == 1
    assert not scheduler.done("b", 0)


def test_an_idle_worker_gets_a_copy_of_what_another_has_had_for_longest() -> None:
    scheduler = Scheduler(segments(0, 1))
    assert (given(scheduler, "a"), given(scheduler, "b")) == (0, 1)
    assert given(scheduler, "a") is None, "it has work of its own"
    assert given(scheduler, "c") == 0 and scheduler.holders(0) == ("a", "c")
    assert given(scheduler, "d") == 1
    assert given(scheduler, "e") is None, "two have each already"
    assert scheduler.done("c", 0) and not scheduler.done("a", 0)
    assert scheduler.holding("a") == ()
    assert scheduler.lost("b") == [], "d still has it"
    assert [segment.number for segment in scheduler.lost("d")] == [1]


def test_no_copies_where_they_are_not_wanted() -> None:
    scheduler = Scheduler(segments(0), speculative=False)
    assert given(scheduler, "a") == 0 and given(scheduler, "b") is None
    scheduler.lost("a")
    assert given(scheduler, "b") == 0


def test_after_a_stop_results_are_still_taken() -> None:
    scheduler = Scheduler(segments(0, 1, 2))
    given(scheduler, "a")
    scheduler.stop()
    assert scheduler.stopped and given(scheduler, "a") is None and given(scheduler, "b") is None
    assert scheduler.in_flight == (0,)
    assert scheduler.done("a", 0) and scheduler.in_flight == () and scheduler.remaining == 2 and not scheduler.complete


def test_the_end_of_a_source_without_an_index_drops_what_is_behind_it() -> None:
    scheduler = Scheduler(segments(*range(6)))
    assert (given(scheduler, "a"), given(scheduler, "b")) == (0, 3)
    assert scheduler.done("b", 3, last=True)
    assert scheduler.remaining == 3
    scheduler.done("a", 0)
    assert [given(scheduler, "a") for _ in range(2)] == [1, 2]
    assert not scheduler.done("b", 4)


@pytest.mark.parametrize("seed", range(200))
def test_random_histories_end_with_each_segment_kept_once(seed: int) -> None:
    """Workers of any speed that ask ahead, are lost at any time, and bring late results."""
    chance = random.Random(seed)
    numbers = sorted(chance.sample(range(60), chance.randint(1, 40)))
    scheduler = Scheduler(segments(*numbers), speculative=chance.random() < 0.5)
    workers = [f"w{i}" for i in range(chance.randint(1, 5))]
    late: list[tuple[str, int]] = []
    kept: list[int] = []
    for _ in range(20_000):
        if scheduler.complete:
            break
        worker = chance.choice(workers)
        held = scheduler.holding(worker)
        dice = chance.random()
        if dice < 0.05:
            late += [(worker, number) for number in held]
            freed = [segment.number for segment in scheduler.lost(worker)]
            assert set(freed) <= set(held) and not set(freed) & set(kept)
        elif dice < 0.1 and late:
            name, number = late.pop(chance.randrange(len(late)))
            if scheduler.done(name, number):
                kept.append(number)
        elif held and dice < 0.6:
            number = chance.choice(held)
            if scheduler.done(worker, number):
                kept.append(number)
        elif len(held) < 2:
            scheduler.next(worker)
        assert all(1 <= len(scheduler.holders(number)) <= 2 for number in scheduler.in_flight)
    assert scheduler.complete and sorted(kept) == numbers


def test_threads_share_one() -> None:
    scheduler = Scheduler(segments(*range(2000)))
    kept: list[int] = []

    def work(name: str) -> None:
        while (segment := scheduler.next(name)) is not None:
            if scheduler.done(name, segment.number):
                kept.append(segment.number)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == list(range(2000)) and scheduler.complete
