"""Measurements: throughput, quality, peers. Nothing here is installed with the package."""
