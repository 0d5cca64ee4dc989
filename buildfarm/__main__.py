"""`python -m buildfarm`: the same as the console script."""

from buildfarm.cli import program

if __name__ == "__main__":
    program()
