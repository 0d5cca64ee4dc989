"""The fault matrix: every way to die or to lie that we know how to stage, against plain make and against buildfarm.

`python -m tests.faults` stages them all and writes `docs/reliability.md`; `tests/test_faults.py` stages the quick
ones.  What a row needs and this machine lacks is named, and the row is skipped.
"""
