"""Measures buildfarm beside its peers, in the same run, on the same nodes.

`python -m benchmarks NAME [--quick]` prints one table; `frame` holds what all benchmarks share, `farm` the nodes
whose compilers cost nothing.  Nothing here is imported by buildfarm.
"""
