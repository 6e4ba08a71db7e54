"""What a batch has to do: which files are done, which cannot be, and how much work the others are."""

from __future__ import annotations

from pathlib import Path

from vidrestore.config import RunConfig
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import OutputExistsError, UsageError, VidrestoreError
from vidrestore.media.input.source import open_source
from vidrestore.media.proof.verify import compare
from vidrestore.pipeline.batch.record import BatchRecord, Entry, Mark, place_of, read_record
from vidrestore.pipeline.batch.rows import Row, done_entry
from vidrestore.pipeline.engines import card_digest
from vidrestore.pipeline.job import expected_frames
from vidrestore.pipeline.journal.fingerprint import Key, make_key
from vidrestore.pipeline.journal.journal import job_folder, sweep
from vidrestore.runtimes import pick_device

__all__ = ["Survey", "settings_key"]

DECIDING = ("setting ", "weights of ", "engines")
"""Parts of a key by which a finished file is told to be what was asked for. Versions of programs are not among them: what was
finished with an older one is finished."""


class Survey:
    """Looks at the files of a batch, one by one.

    Args:
        folder: the output folder.
        key: of the settings, see `settings_key`.
        config: the settings.
        overwrite, fresh: see `Batch`.
        record: to write to; None: only look.
    """

    def __init__(
        self,
        folder: Path,
        key: Key,
        config: RunConfig,
        overwrite: bool,
        fresh: bool,
        record: BatchRecord | None = None,
    ) -> None:
        self._key, self._config, self._overwrite, self._fresh, self._record = key, config, overwrite, fresh, record
        if record is None:
            found = read_record(folder)
            self._entries, self._keys = {entry.name: entry for entry in found.entries}, found.keys
        else:
            record.put_settings(self._key)
            self._entries, self._keys = record.entries(), record.keys()

    def settle(self, row: Row) -> None:
        """Set how a row stands: `waiting` with its frames and pixels, `done already`, or `failed`."""
        try:
            if not self._settle_done(row):
                self._probe(row)
        except Exception as error:
            row.fail(error)

    def _settle_done(self, row: Row) -> bool:
        """True if the row is done already; raises if an output is in the way."""
        entry = self._entries.get(row.item.name)
        source, output = place_of(row.item.source), place_of(row.item.output)
        if not output.exists() or not source.exists() or (self._overwrite and self._fresh):
            return False
        reason = "no batch has recorded it"
        if entry is not None and entry.state == "done":
            row.recorded = True
            reason = self._why_not_done(entry, source, output)
            if not reason:
                row.frames, row.state = entry.frames, "done already"
                return True
        elif entry is not None and self._was_completed(entry, row, source, output):
            row.state, row.recorded = "done already", True
            return True
        # With a journal beside it the output may be of a run that was killed before it could clear up: the job will tell.
        if self._overwrite or job_folder(row.item.output).exists():
            return False
        raise OutputExistsError(f"{output} exists already: {reason}.", "Choose another folder or add --overwrite.")

    def _why_not_done(self, entry: Entry, source: Path, output: Path) -> str:
        """Why a recorded output is not what was asked for; empty: it is."""
        if entry.settings != self._key.digest:
            before = self._keys.get(entry.settings)
            what = " and ".join(self._key.differences(before)) if before is not None else "other settings"
            return f"it was made otherwise; what differs: {what}"
        if not entry.input.fits(source, by_content=entry.source != str(source.absolute())):
            return "it was made of another file, or its source has changed since"
        return "" if entry.output.fits(output) else "it was changed since it was written"

    def _was_completed(self, entry: Entry, row: Row, source: Path, output: Path) -> bool:
        """Whether a run that was killed had just completed the output: then it is recorded now.

        It was in work with these settings where nothing had been, its job was cleared up, which is the last that a job does,
        and it is held against its source as `vidrestore verify` does.
        """
        begun = entry.state == "working" and entry.settings == self._key.digest and entry.output == Mark(0, 0)
        if not begun or not entry.input.fits(source):
            return False
        if job_folder(row.item.output).exists() and (self._record is None or not sweep(row.item.output)):
            return False
        config = self._config
        try:
            report = compare(
                Path(row.item.source),
                Path(row.item.output),
                start=config.start,
                duration=config.duration,
                drop_streams=config.drop_streams,
                strip_location=config.strip_location,
                frame_rate=config.frame_rate,
                protocols=config.protocols,
                cfr=config.cfr,
                on_damage=config.on_damage,
            )
        except VidrestoreError:
            return False
        before, after = Mark.of(source, digest=True), Mark.of(output, digest=True)
        if report.differing or before is None or after is None:
            return False
        row.frames = report.frames
        if self._record is not None:
            self._record.put([done_entry(row, self._key.digest, before, after)])
        return True

    def _probe(self, row: Row) -> None:
        config = self._config
        source = open_source(row.item.source, limits=config.limits, protocols=config.protocols, frame_rate=config.frame_rate)
        try:
            video = source.media.video
        finally:
            source.close()
        if row.item.refusal:
            raise UsageError(row.item.refusal, "")
        row.pixels = video.width * video.height
        row.total = expected_frames(video, config.start, config.duration)


def settings_key(config: RunConfig, engines_dir: Path | None) -> Key:
    """Settings, engines and weights, as a key without an input.

    Raises:
        EngineError: an engine that the settings name is missing or broken.
        UsageError: they name none.
        RuntimeUnavailableError: there is no device for the runtime that they name.
    """
    if not config.engines:
        raise UsageError("No engine was asked for.", "Name at least one: flare, day, night, sr or an engine's id.")
    catalog = Catalog.find(engines_dir)
    device = pick_device("auto", config.runtime) if config.device == "auto" else config.device
    cards = [catalog.resolve(name, config.tier, device) for name in config.engines]
    key = make_key((), config, [(card.id, card_digest(card)) for card in cards], {})
    return Key(tuple(part for part in key.parts if part[0].startswith(DECIDING)))
