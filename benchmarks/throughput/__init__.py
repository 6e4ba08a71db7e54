"""The named measurements of speed and memory, by `vidrestore bench`'s own instruments."""
