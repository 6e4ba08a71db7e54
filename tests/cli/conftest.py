"""Fixtures of the command line's tests; what they are made of is in desk.py."""

from tests.cli.desk import desk, master_clip, refused

__all__ = ["desk", "master_clip", "refused"]
