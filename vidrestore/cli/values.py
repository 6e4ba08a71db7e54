"""Option values that are more than a number or a word."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["BATCH_SIZES", "KEY_VALUE", "MOST_AT_ONCE", "RECTANGLE", "SIZE", "TIME"]

MOST_AT_ONCE = 64
"""Frames of a batch."""
CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")


class Time(click.ParamType):
    """Seconds, or [HH:]MM:SS[.mmm], as a float of seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = CLOCK.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no time: give seconds (12.5) or [HH:]MM:SS (1:02:03.5).", param, ctx)
        hours, minutes, seconds = match.groups()
        if minutes is not None and (float(seconds) >= 60 or (hours is not None and int(minutes) >= 60)):
            self.fail(f"{value!r} is no time: minutes and seconds end at 59.", param, ctx)
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


class Numbers(click.ParamType):
    """A fixed number of whole numbers, as a tuple of ints."""

    def __init__(self, name: str, example: str, separator: str) -> None:
        self.name = name
        self._example = example
        self._separator = separator

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.lower().split(self._separator)
        if len(parts) != len(self._example.split(self._separator)) or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not of the form {self._example}.", param, ctx)
        return tuple(int(part) for part in parts)


class BatchSizes(click.ParamType):
    """`1,4,8`: whole numbers from 1 to 64."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        sizes = [part.strip() for part in value.split(",") if part.strip()]
        if not sizes or not all(size.isdecimal() and 1 <= int(size) <= MOST_AT_ONCE for size in sizes):
            self.fail(f"{value!r} is no list of batch sizes such as 1,4,8 (1 to {MOST_AT_ONCE}).", param, ctx)
        return tuple(dict.fromkeys(int(size) for size in sizes))


class KeyValue(click.ParamType):
    """KEY=VALUE, as a pair of strings."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = value.partition("=")
        if not equals or not key.strip() or not rest:
            self.fail(f"{value!r} is not of the form KEY=VALUE, such as tune=film.", param, ctx)
        return key.strip(), rest


BATCH_SIZES = BatchSizes()
KEY_VALUE = KeyValue()
TIME = Time()
RECTANGLE = Numbers("x,y,w,h", "10,20,300,40", ",")
SIZE = Numbers("size", "1280x720", "x")
