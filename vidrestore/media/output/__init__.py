"""Writing: codecs, containers, and outputs that are whole or not there."""
