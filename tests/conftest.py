"""Fixtures that every test may ask for; the real nodes are `tests/farm.py`."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.farm import farm as farm
from tests.tool import choose_make

_MAKE = choose_make()

settings.register_profile("shared cores", deadline=None)  # a slow example on a busy machine is no failure
settings.load_profile("shared cores")


def pytest_report_header() -> str:
    """The one thing of the surroundings that changes what is tested most."""
    return f"make: {_MAKE}"


def pytest_configure(config: pytest.Config) -> None:
    """Signals that whoever started the tests ignores (`nohup`, a shell's `&`) would be ignored by every child too."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration a test that is skipped because a tool is missing has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and "is missing" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{report.longrepr}, and CI=true"
    return report
