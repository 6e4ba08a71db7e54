"""The check of outputs that this package writes itself (images, gif, y4m): the rows of a report, or the first difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from vidrestore.errors import VerificationError
from vidrestore.media.proof.findings import Finding, VerifyReport

__all__ = ["compared", "report"]


def compared(name: str, expected: object, found: object) -> Finding:
    """A row that is ok; raises VerificationError where the two are not the same."""
    if expected != found:
        raise VerificationError(f"The {name} of the written output were to be {expected}, they are {found}.")
    return Finding(name, str(expected), str(found))


def report(
    expected: Sequence[Fraction],
    found: Sequence[Fraction],
    *,
    tick: Fraction,
    shift: Fraction,
    size_bytes: int,
    rows: Iterable[Finding] = (),
    notices: tuple[str, ...] = (),
    slack: Fraction | None = None,
) -> VerifyReport:
    """What is told of an output whose pictures are all there, each in its place.

    Args:
        expected, found: times of the pictures in the output, in seconds, rising.
        tick: seconds of the output's clock.
        shift: seconds that were taken off the source's timestamps.
        size_bytes: of the output.
        rows: what else was compared.
        slack: how far a picture may be from its time, in seconds; None: half a tick.

    Raises:
        VerificationError: a picture is missing, too many, or more than the slack away from its time.
    """
    counted = compared("frames", len(expected), len(found))
    worst = Fraction(0)
    for index, (wanted, there) in enumerate(zip(expected, found, strict=True)):
        worst = max(worst, abs(wanted - there))
        if worst > (tick / 2 if slack is None else slack):
            raise VerificationError(
                f"Frame {index} was to be shown at {float(wanted):.6f} s, it is written at {float(there):.6f} s."
            )
    said = f"{len(found)} exact" if not worst else f"at most {float(worst) * 1e3:.3f} ms off"
    times = Finding("frame times", f"{len(expected)} times", said)
    return VerifyReport(
        frames=len(found),
        first_seconds=float(found[0]),
        last_seconds=float(found[-1]),
        pts_exact=not worst,
        largest_pts_error=float(worst),
        tick=float(tick),
        shift=float(shift),
        streams=(),
        chapters=0,
        size_bytes=size_bytes,
        notices=notices,
        rows=(counted, times, *rows),
    )
