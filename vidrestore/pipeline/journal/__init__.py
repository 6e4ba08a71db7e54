"""The folder beside an output that holds what is done of it: key, lock, segments, states."""
