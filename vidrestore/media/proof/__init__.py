"""Verification: what was promised, what is there, and a row for each."""
