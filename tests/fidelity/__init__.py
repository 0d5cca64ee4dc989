"""Random make projects, built by make and by buildfarm, whose trees and recipes must be the same.

`pieces` writes fragments of projects, `cases` joins them, `duel` builds and compares; `python -m tests.fidelity` is the
long form.
"""
