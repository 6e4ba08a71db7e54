"""Many files into one folder, and the record of which are done."""
