"""Quality of the engines on frozen and public test sets: `python -m benchmarks.quality`."""
