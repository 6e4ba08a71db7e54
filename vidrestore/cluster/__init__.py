"""The same segments on many machines: a pool of workers on an existing Ray cluster. Needs the extra `ray`."""
