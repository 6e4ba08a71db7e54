"""The reports of a batch: one page for each video, below one folder, in the same sub-folders as the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vidrestore.config import RunConfig
from vidrestore.errors import NotWritableError, ReportError, UsageError, VidrestoreError
from vidrestore.media.output.target import storage_error
from vidrestore.pipeline.batch.gather import Item
from vidrestore.pipeline.batch.rows import Row
from vidrestore.report.page_file import check_page, write_pair_page, write_run_page

__all__ = ["BatchPages"]

PAGES = frozenset({".html", ".htm"})
KEPT = "The video is done and verified; `vidrestore report IN OUT` makes its report under another name."


class BatchPages:
    """Called by a batch with every row that is done. A page that is there already keeps nobody from restoring its video.

    Args:
        folder: where the pages go; made when the first is written.
        command: what pages say that the user typed.
        overwrite: replace existing pages.

    Raises:
        UsageError: the folder is a file, or is called like a page.
        NotWritableError: it has no place to be made in.
    """

    def __init__(self, folder: Path, command: str, overwrite: bool) -> None:
        self._folder, self._command, self._overwrite = folder, command, overwrite
        self.written = 0
        """Pages, so far."""
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; the reports of several videos need a folder.", "Give --report a folder.")
        if folder.suffix.lower() in PAGES and not folder.exists():
            raise UsageError(f"{folder} is the name of one page; several videos have one each.", "Give --report a folder.")
        above = next(place for place in folder.absolute().parents if place.exists())
        if not above.is_dir():
            raise NotWritableError(f"The folder {folder} cannot be made: {above} is no folder.")

    def place(self, item: Item) -> Path:
        """Where the page of a file goes."""
        return self._folder / f"{item.name.rstrip('/')}.html"

    def __call__(self, row: Row, stopping: Callable[[], bool]) -> None:
        """Write the page of a row that has just been restored.

        Raises:
            ReportError: it could not be made, or another one is there, which is kept.
        """
        assert row.result is not None
        page = self.place(row.item)
        self._prepare(row, page)
        write_run_page(page, row.result, command=self._command, overwrite=self._overwrite, stopping=stopping)
        self.written += 1

    def catch_up(self, rows: Sequence[Row], config: RunConfig) -> None:
        """Write the pages that are missing of files that earlier runs have restored; failures become notices of their rows."""
        for row in rows:
            page = self.place(row.item)
            if row.state != "done already" or page.exists():
                continue
            try:
                self._prepare(row, page)
                write_pair_page(page, row.item.source, row.item.output, config)
                self.written += 1
            except ReportError as error:
                row.notices, row.exit_code = (*row.notices, str(error)), error.exit_code

    def _prepare(self, row: Row, page: Path) -> None:
        if page.exists() and not self._overwrite:
            raise ReportError(f"The report {page} is there already, and was kept.", KEPT)
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            check_page(page, row.item.source, row.item.output, self._overwrite)
        except OSError as error:
            raise ReportError(f"The report {page} could not be made: {storage_error(error, page).message}") from None
        except VidrestoreError as error:
            raise ReportError(f"The report {page} could not be made: {error.message}") from None
