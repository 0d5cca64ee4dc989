"""Fixtures that every test may ask for; the real nodes are `tests/farm.py`."""

from __future__ import annotations

from hypothesis import settings

from tests.farm import farm as farm

settings.register_profile("shared cores", deadline=None)  # a slow example on a busy machine is no failure
settings.load_profile("shared cores")
