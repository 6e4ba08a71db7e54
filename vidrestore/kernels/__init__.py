"""Full-resolution passes over integer frames, compiled by numba. Import the module you need: numba is slow to load."""
