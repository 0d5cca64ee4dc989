"""Draws a `View` as lines of text with rich: the bar, then a line for each node.

It only makes strings for a given width and height; `live` puts them on a terminal and `status --follow` reuses
them for a build that runs elsewhere.  Lines never exceed the width, and there are never more of them than the
height permits: nodes that are at fault and nodes that work come before idle ones, the rest is one line of sums.
"""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.text import Text

from buildfarm.report.progress import NodeView, View
from buildfarm.report.status import ASKED_AGAIN, NOT_PROBED
from buildfarm.report.text import again, clock, count, printable, shortest

NARROW = 60
"""Below this width a node's line leaves out its speed and the bar shrinks to its numbers."""


def lines(view: View, *, width: int, height: int, color: bool = True) -> list[str]:
    """The view as at most `height` lines of at most `width - 1` columns, with escape codes if `color`."""
    columns = max(10, width - 1)
    console = Console(
        file=io.StringIO(),
        width=columns,
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    shown = [_bar(view, columns, console)]
    room = max(0, height - 1)
    nodes = sorted(view.nodes, key=_rank) if len(view.nodes) > room else list(view.nodes)
    if len(nodes) > room:
        rest = nodes[max(0, room - 1) :]
        nodes = nodes[: max(0, room - 1)]
        rest_line = _rest(rest) if room else None
    else:
        rest_line = None
    name_width = min(max((len(printable(node.name)) for node in nodes), default=0), max(8, columns // 4))
    slots_width = max((len(_slots(node)) for node in nodes), default=0)
    done_width = max((len(str(node.done)) for node in nodes), default=0)
    for node in nodes:
        text = _node(node, name_width, slots_width, done_width, columns)
        text.truncate(columns, overflow="ellipsis")
        shown.append(_ansi(text, console))
    if rest_line is not None:
        rest_line.truncate(columns, overflow="ellipsis")
        shown.append(_ansi(rest_line, console))
    return shown


def _ansi(text: Text, console: Console) -> str:
    with console.capture() as captured:
        console.print(text, end="", no_wrap=True, overflow="ignore", crop=False)
    return captured.get()


def _bar(view: View, columns: int, console: Console) -> str:
    open_end = "" if view.total_is_final else "+"
    if not view.total:
        return _no_units(view, columns, console)
    numbers = Text(f"{view.done}/{view.total}{open_end}", style="bold")
    details = [f"{view.in_flight} in flight"]
    if view.failed:
        details.append(f"{view.failed} failed")
    if view.eta_seconds is not None:
        details.append(f"{'' if view.total_is_final else '>'}{clock(view.eta_seconds)} left")
    details.append(f"{clock(view.elapsed_seconds)} gone")
    numbers.append("  " + "  ".join(details), style="not bold")
    if columns < NARROW:
        numbers.truncate(columns, overflow="ellipsis")
        return _ansi(numbers, console)
    bar_width = max(10, min(40, columns - numbers.cell_len - 2))
    style = "yellow" if view.failed else "green"  # make may not mind
    bar = ProgressBar(
        total=max(1, view.total), completed=view.done, width=bar_width, complete_style=style, finished_style=style
    )
    with console.capture() as captured:
        console.print(bar, end="")
    numbers.truncate(max(0, columns - bar_width - 2), overflow="ellipsis")
    return captured.get().rstrip("\n") + "  " + _ansi(numbers, console)


def _no_units(view: View, columns: int, console: Console) -> str:
    """What make has asked for so far is nothing to compile: a bar would say that nothing moves."""
    text = Text("no units" if view.total_is_final else "no units yet", style="bold")
    steps = f"  {count(view.links, 'other step')} done" if view.links else ""
    text.append(f"{steps}  {clock(view.elapsed_seconds)} gone", style="not bold")
    text.truncate(columns, overflow="ellipsis")
    return _ansi(text, console)


def _slots(node: NodeView) -> str:
    return f"{_taken(node)}/{node.slots}"


def _taken(node: NodeView) -> int:
    """Slots in use: a result on its way to its place, or to the journal, has left its own to the next unit."""
    return min(len(node.running), node.slots)


def _rank(node: NodeView) -> tuple[int, int]:
    return (0 if node.state in ("down", "quarantined") else 1, -len(node.running))


def _is_out(node: NodeView) -> bool:
    return node.state in ("down", "quarantined") and node.reason not in (NOT_PROBED, ASKED_AGAIN)


_STYLES = {"down": "red", "quarantined": "red", "draining": "yellow"}


def _node(node: NodeView, name_width: int, slots_width: int, done_width: int, columns: int) -> Text:
    style = _STYLES.get(node.state, "cyan" if node.running else "dim")
    in_question = node.reason in (NOT_PROBED, ASKED_AGAIN)
    if in_question:
        style = "dim"
    # Of long names the ends differ: ports, and the last part of an address.
    whole = printable(node.name)
    name = Text(whole if len(whole) <= name_width else "…" + whole[1 - name_width :], style=style)
    name.truncate(name_width, pad=True)
    text = Text("  ").append_text(name)
    text.append(f" {_slots(node):>{slots_width}}  {node.done:>{done_width}} done")
    if columns >= NARROW:
        speed = f"{node.per_minute:.0f}/min" if node.per_minute else ""
        text.append(f" {speed:>7}", style="dim")
    if in_question:
        text.append(f"  {node.reason}", style=style)
    elif node.state in _STYLES:
        text.append(f"  {node.state}", style=style)
        if node.reason:
            text.append(f": {printable(node.reason)}")
        if node.retry_in_seconds is not None:
            text.append(f"; {again(node.retry_in_seconds)}", style="dim")
    text.append("  ")
    for position, unit in enumerate(node.running):
        text.append(", " if position else "")
        text.append(printable(shortest(unit.output)))
        text.append(f" {unit.seconds:.0f}s", style="dim" if unit.attempt == 1 else "yellow")
    return text


def _rest(nodes: list[NodeView]) -> Text:
    bad = sum(_is_out(node) for node in nodes)
    taken = sum(_taken(node) for node in nodes)
    slots = sum(node.slots for node in nodes)
    text = Text(f"  and {count(len(nodes), 'more node')}: {taken}/{slots} slots", style="dim")
    if bad:
        text.append(f", {bad} down", style="red")
    return text.append(f", {sum(node.done for node in nodes)} done")
