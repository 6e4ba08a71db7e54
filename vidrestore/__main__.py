"""`python -m vidrestore` is the command line, for environments whose scripts are not on the PATH."""

from vidrestore.cli import main

if __name__ == "__main__":
    main()
