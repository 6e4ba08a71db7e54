"""Our pipeline against the same networks in the loops and runtimes that people use otherwise."""
