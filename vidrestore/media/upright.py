"""Turning pictures upright by moving pixels: for outputs that cannot carry a display matrix, and for photos that carry one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Upright"]


@dataclass(frozen=True)
class Upright:
    """Quarter turns and mirrorings as three steps, in this order; no pixel is resampled."""

    transpose: bool = False
    """Rows become columns."""
    mirror: bool = False
    """Then left becomes right."""
    flip: bool = False
    """Then top becomes bottom."""

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...] | None) -> Upright | None:
        """What a display matrix asks for (None: nothing); None if it is no quarter turn or mirroring.

        A pixel at (x, y) is shown at (a x + c y, b x + d y), with (a, b, u, c, d, v, ...) the matrix's numbers
        (ISO/IEC 14496-12, 6.2.2; FFmpeg's display.h).
        """
        if matrix is None:
            return cls()
        a, b, _, c, d = matrix[:5]
        if a and d and not b and not c and abs(a) == abs(d):
            return cls(False, a < 0, d < 0)
        if b and c and not a and not d and abs(b) == abs(c):
            return cls(True, c < 0, b < 0)
        return None

    @classmethod
    def of_exif(cls, orientation: int) -> Upright:
        """What EXIF's orientation 1..8 asks for (CIPA DC-008, tag 274); unknown numbers ask for nothing."""
        steps = {
            2: (False, True, False),
            3: (False, True, True),
            4: (False, False, True),
            5: (True, False, False),
            6: (True, True, False),
            7: (True, True, True),
            8: (True, False, True),
        }
        return cls(*steps.get(orientation, (False, False, False)))

    @property
    def changes(self) -> bool:
        return self.transpose or self.mirror or self.flip

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        return (height, width) if self.transpose else (width, height)

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(H, W) or (H, W, C), turned; a view where nothing changes, else an own array."""
        turned = pixels.swapaxes(0, 1) if self.transpose else pixels
        turned = turned[:, ::-1] if self.mirror else turned
        turned = turned[::-1] if self.flip else turned
        return np.ascontiguousarray(turned) if self.changes else pixels
