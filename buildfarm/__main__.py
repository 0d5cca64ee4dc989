"""`python -m buildfarm`: the console script by another name."""

from buildfarm.cli import main

if __name__ == "__main__":
    main()
