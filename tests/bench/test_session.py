"""A session of measuring: which chains, and a report that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.desk import tiny_engine, write_clip
from vidrestore.bench.engines import count_engine_flop
from vidrestore.bench.figures import Section
from vidrestore.bench.machine import Watch
from vidrestore.bench.session import Plan, Session, chains_of
from vidrestore.bench.table import report_text
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import RuntimeFailure, UnknownEngineError

CATALOG = Catalog.find()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    clip = write_clip(tmp_path / "source.mp4", 6, sound=False)
    engines = tiny_engine(tmp_path / "engines", "")
    return Plan(
        alone=(("tiny",),),
        whole=(("tiny",),),
        clip=clip,
        frames=4,
        repeats=1,
        settings={"threads": 1, "batch_size": 2},
        engines_dir=engines,
        workers=1,
        gemm_sizes=(32,),
        gemm_seconds=0.0,
    )


def test_nobody_named_means_all_alone_and_a_night_drive() -> None:
    alone, whole = chains_of((), False, "auto", CATALOG)
    assert [chain for chain in alone if len(chain) == 1] == [(card.id,) for card in CATALOG.cards()]
    assert alone[-1:] == whole == (("flare", "day"),)
    best, _ = chains_of((), False, "best", CATALOG)
    assert ("rdtn-x2",) in best and ("identity",) not in best


def test_named_engines_stand_alone_unless_fused() -> None:
    assert chains_of(("flare", "day"), False, "auto", CATALOG) == ((("flare",), ("day",)), (("flare",), ("day",)))
    alone, whole = chains_of(("flare", "day"), True, "auto", CATALOG)
    assert alone == (("flare",), ("day",), ("flare", "day"))
    assert whole == (("flare", "day"),)
    assert chains_of(("flare, day",), False, "auto", CATALOG) == ((("flare", "day"),), (("flare", "day"),))


def test_a_catalogue_without_them_is_run_alone_only(tmp_path: Path) -> None:
    catalog = Catalog.find(tiny_engine(tmp_path, ""))
    assert chains_of((), False, "auto", catalog) == ((("tiny",),), ())


@pytest.mark.parametrize("card", CATALOG.cards(), ids=lambda card: card.id)
def test_operations_of_every_engine_can_be_counted(card) -> None:  # type: ignore[no-untyped-def]
    small, large = (count_engine_flop([card], CATALOG, *size) for size in ((320, 180), (1280, 720)))
    assert small is not None and large is not None
    assert (large >= small > 0) if card.task != "baseline" else large == 0


def test_the_next_engine_sees_what_the_one_before_leaves(tmp_path: Path) -> None:
    catalog = Catalog.find(tiny_engine(tmp_path, ""))
    card = catalog.card("tiny")
    once = count_engine_flop([card], catalog, 64, 48)
    twice = count_engine_flop([card, card], catalog, 64, 48)
    assert once and twice and twice == 5 * once


def test_an_unknown_engine_is_refused_before_any_work(plan: Plan) -> None:
    told: list[str] = []
    with pytest.raises(UnknownEngineError, match="There is no engine 'nobody'"):
        Session(Plan(alone=(("nobody",),), whole=(), clip=plan.clip, engines_dir=plan.engines_dir), told.append)
    assert told == []


def test_a_busy_machine_is_refused_before_measuring(plan: Plan) -> None:
    class Loud(Watch):
        def look(self, seconds: float | None = None) -> Section:
            self.sections.append(Section("before", 2.0, 1.9))
            return self.sections[-1]

    told: list[str] = []
    with pytest.raises(RuntimeFailure, match=r"other processes used up to 1\.90"):
        Session(plan, told.append, Loud()).run(require_quiet=True)
    assert told == ["looking who else is here"]


def test_a_report_of_a_chain(plan: Plan) -> None:
    told: list[str] = []
    session = Session(plan, told.append)
    report = session.run()
    assert len(told) <= session.pieces
    assert json.loads(json.dumps(report.as_dict()))["settings"]["repeats"] == 1
    (engine,) = report.engines
    assert engine.engines == ("tiny",)
    assert engine.gflop_per_frame and engine.gemm_share
    (chain,) = report.chains
    assert (chain.width, chain.height, chain.output_width, chain.output_height) == (96, 64, 192, 128)
    assert [stage.name for stage in chain.stages] == ["decode", "engines", "blend", "encode", "mux and verify"]
    alone = sum(stage.cpu_ms.median for stage in chain.stages)
    assert chain.whole.sum_of_stages_ms == pytest.approx(alone)
    assert chain.whole.overhead == pytest.approx(chain.whole.cpu_ms.median / alone)
    assert chain.whole.frames == 4
    names = {section.name for section in report.sections}
    assert {"before", "tiny alone", "tiny: encode alone", "tiny: file to file 1 of 1"} <= names
    text = report_text(report)
    assert "tiny (torch, cpu, " in text and "96x64 -> 192x128" in text and " x the stages alone" in text
    assert ("BUSY" in text) == bool(report.busy)
