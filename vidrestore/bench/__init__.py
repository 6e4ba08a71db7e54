"""Measuring: engines alone, each stage alone, and whole runs from file to file; and whether the machine was quiet meanwhile."""
