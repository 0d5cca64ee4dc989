"""The report page: what it says, and that it works in a real browser, by keyboard, light and dark, with 5,000 units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.model import TRIAL
from buildfarm.report import page
from buildfarm.report.history import Attempt, Place, Step
from buildfarm.report.layout import layers
from buildfarm.report.metrics import prometheus
from tests.browser import Browser, require_chromium
from tests.histories import history

# A frame may cost as much: about 50 ms where nobody disturbs the browser, and more where drawing takes more, too.
COUNTING = """
    const begun = performance.now();
    let sum = 0;
    for (let i = 0; i < 5e7; i++) sum = (sum * 31 + i) | 0;
    return performance.now() - begun + (sum ? 0 : 1e-9);
"""
"""What drawing 5,000 units may cost on this machine while other tests run; a frame of a quiet one takes a tenth."""


def test_the_page_loads_nothing_and_a_strangers_text_stays_text() -> None:
    text = page.render(history())
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "</script><b>x" not in text
    assert text.count("</script>") == 2
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_every_unit_of_the_longest_chain_and_every_fault_is_in_a_table() -> None:
    made = history()
    text = page.render(made)
    for number in made.critical_path:
        assert f'data-step="{number}"' in text
    faults = sum(len(step.attempts) > 1 for step in made.steps)
    assert text.count("attempt 1</td>") == faults > 0
    assert "closed after 12 of 4096 bytes &lt;b&gt;&amp;" in text


@pytest.mark.parametrize("overlap", [False, True])
def test_a_chain_that_is_shorter_than_the_sum_of_its_steps_says_why(overlap: bool) -> None:
    from dataclasses import replace

    made = history()
    seconds = sum(made.steps[number].seconds for number in made.critical_path)
    text = page.render(replace(made, critical_seconds=seconds / 2 if overlap else seconds))
    assert ("Its steps overlap" in text) == overlap


def test_shares_of_the_nodes_add_up() -> None:
    rows = page.node_rows(history())
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    assert all(0 <= row.busy <= 1 for row in rows)
    assert sum(row.units for row in rows) == 60


def test_a_build_that_did_nothing_has_a_page_too() -> None:
    from dataclasses import replace

    empty = replace(history(), steps=(), edges=(), critical_path=(), chances=(), seconds=0.0)
    assert "<canvas" in page.render(empty)


def test_layers_stand_behind_what_they_wait_for() -> None:
    edges = [(0, 1), (1, 2), (0, 2), (3, 2), (2, 4)]
    found = layers(5, edges)
    depth = {vertex: i for i, layer in enumerate(found) for vertex in layer}
    assert all(depth[a] < depth[b] for a, b in edges)
    assert depth[3] == depth[2] - 1  # what nobody needs early stands just before what needs it


def test_layers_survive_a_cycle() -> None:
    assert sum(map(len, layers(3, [(0, 1), (1, 2), (2, 1)]))) == 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_chromium()
    with Browser() as running:
        yield running


def _opened(browser: Browser, tmp_path: Path, units: int) -> None:
    file = tmp_path / "r.html"
    file.write_text(page.render(history(units, nodes=8, slots=8)), encoding="utf-8")
    browser.open(file)
    browser.drawn()


def test_the_keyboard_finds_a_unit_tells_its_story_and_walks_the_graph(browser: Browser, tmp_path: Path) -> None:
    _opened(browser, tmp_path, 300)
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "find"
    browser.press(*"module_123.o", "Enter")
    assert browser.run("return document.querySelector('#unit h3').textContent") == "part3/module_123.o"
    assert browser.run("return document.activeElement.id") == "timeline"
    browser.press("Escape")
    assert browser.run("return document.getElementById('unit').hidden") is True
    browser.press("c", "Enter")
    first = browser.run("return document.querySelector('#unit h3').textContent")
    browser.press("c")
    assert browser.run("return document.querySelector('#unit h3').textContent") != first
    browser.press("g")
    assert browser.run("return document.activeElement.id") == "dag"
    second = browser.run("return picked")
    browser.press("Right")
    assert browser.run("return picked") != second
    browser.press("?")
    assert browser.run("return document.getElementById('help').open") is True
    assert browser.complaints() == []


def test_light_and_dark_are_both_readable_and_the_button_changes_them(browser: Browser, tmp_path: Path) -> None:
    _opened(browser, tmp_path, 60)
    seen = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        seen[scheme] = _contrast(browser)
        assert seen[scheme][0] > 7
    assert seen["light"][1] != seen["dark"][1]
    browser.click("#theme")
    assert _contrast(browser)[1] == seen["light"][1]
    browser.prefer("light")


def _contrast(browser: Browser) -> tuple[float, str]:
    """The contrast of text and paper by WCAG 2.1, 1.4.3, and the paper's colour."""
    style = browser.run("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    lights = []
    for color in style:
        channels = [int(number) / 255 for number in re.findall(r"\d+", color)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    high, low = max(lights), min(lights)
    return (high + 0.05) / (low + 0.05), style[1]


def test_five_thousand_units_do_not_stutter(browser: Browser, tmp_path: Path) -> None:
    _opened(browser, tmp_path, 5000)
    costs = []
    for name, keys in (("timeline", "+++++" + "-----"), ("dag", "++++" + "----")):
        browser.run(f"document.getElementById('{name}').focus()")
        for key in keys:
            browser.press(key)
            drawing = float(browser.run(f"return document.getElementById('{name}').dataset.milliseconds"))
            costs.append(drawing / float(browser.run(COUNTING)))
    assert sorted(costs)[len(costs) // 2] < 1, costs
    browser.press("/", *"module_4711", "Enter")
    assert browser.run("return document.querySelector('#unit h3').textContent") == "part117/module_4711.o"
    assert browser.complaints() == []


def test_a_narrow_window_shows_all_of_it(browser: Browser, tmp_path: Path) -> None:
    _opened(browser, tmp_path, 60)
    width = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width == 0


def test_attempts_that_were_late_are_faults_and_failed_compiles_and_lost_races_are_none() -> None:
    attempts = [
        Attempt("pi:3632", 0, 0.0, 9.0, number, outcome)
        for number, outcome in enumerate(("late", "failed", "superseded", "held", "done"), 1)
    ]
    step = Step("a.o", "compile", "done", "pi:3632", 9.0, tuple(attempts), "gcc -c a.c", "/")
    made = replace(history(), steps=(step,), edges=(), critical_path=(0,), places=(Place("pi:3632", 4),))
    assert [row.faults for row in page.node_rows(made)] == [1]
    assert page.render(made).count("attempt 1</td>") == 1 and "attempt 2</td>" not in page.render(made)
    once = replace(made, steps=(replace(step, attempts=tuple(attempts[1:])),))
    for shown, number in ((made, 1), (once, 0)):
        (line,) = [line for line in prometheus(shown).splitlines() if line.startswith("buildfarm_units_retried{")]
        assert line.endswith(f" {number}")


def test_a_compile_that_only_tries_something_out_may_fail() -> None:
    attempt = Attempt("this machine", 0, 0.0, 1.0, 1, "failed")
    step = Step(
        "conftest.o", "other", "failed", "this machine", 1.0, (attempt,), "gcc -c conftest.c", "/", exit_status=1
    )
    made = replace(history(), steps=(step,), edges=(), critical_path=())
    assert "FAILED" in page.render(made)
    assert "FAILED" not in page.render(replace(made, steps=(replace(step, reason=TRIAL),)))
