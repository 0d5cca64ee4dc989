"""Fixtures that every test may ask for; the real nodes are `tests/farm.py`."""

from __future__ import annotations

from tests.farm import farm as farm
