"""A graph as an SVG picture that follows the reader's light or dark; the same layers as the report page's.

It draws boxes and curves; what they mean is the caller's.  Every box tells its whole name when pointed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from buildfarm.report.layout import layers
from buildfarm.report.text import printable
from buildfarm.value import dataclass

COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 230, 30, 180, 22, 16
LABEL = 26  # characters that fit a box

_STYLE = """
svg { background: #fff; font: 11px system-ui, "DejaVu Sans", sans-serif; }
rect { fill: #eef2f6; stroke: #8d99a6; } text { fill: #1d2329; } path { fill: none; stroke: #9aa6b2; }
.unit { fill: #d6e6f7; stroke: #4c86c6; } .phony { rx: 11px; } .old { opacity: .55; }
.asked { stroke: #d9480f; stroke-width: 2.5; }
.order-only { stroke-dasharray: 5 4; } .submake { stroke-dasharray: 1 4; }
@media (prefers-color-scheme: dark) {
  svg { background: #14181c; } rect { fill: #252c33; stroke: #73808d; } text { fill: #e4e9ee; }
  .unit { fill: #1f3a55; stroke: #5b9bd9; } path { stroke: #5b6670; }
}
"""


@dataclass(frozen=True, slots=True)
class Box:
    label: str
    title: str  # the whole name
    kinds: tuple[str, ...] = ()  # of unit, phony, old, asked


@dataclass(frozen=True, slots=True)
class Arrow:
    before: int
    after: int
    kind: str = "prerequisite"


def svg(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """The picture, left to right."""
    grid = layers(len(boxes), [(arrow.before, arrow.after) for arrow in arrows])
    tallest = max((len(layer) for layer in grid), default=1)
    spots = {
        vertex: (MARGIN + x * COLUMN, MARGIN + ROW * (y + (tallest - len(layer)) / 2))
        for x, layer in enumerate(grid)
        for y, vertex in enumerate(layer)
    }
    width = 2 * MARGIN + max(0, len(grid) - 1) * COLUMN + WIDTH
    height = 2 * MARGIN + max(0, tallest - 1) * ROW + HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
    ]
    for arrow in arrows:
        x1, y1 = spots[arrow.before][0] + WIDTH, spots[arrow.before][1] + HEIGHT / 2
        x2, y2 = spots[arrow.after][0], spots[arrow.after][1] + HEIGHT / 2
        middle = (x1 + x2) / 2
        curve = f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
        lines.append(f'<path class="{arrow.kind}" d="{curve}"/>')
    for number, box in enumerate(boxes):
        x, y = spots[number]
        shown = box.label if len(box.label) <= LABEL else "…" + box.label[-LABEL + 1 :]
        lines.append(
            f'<g><title>{_text(box.title)}</title><rect class="{" ".join(box.kinds)}" x="{x:g}" y="{y:g}"'
            f' width="{WIDTH}" height="{HEIGHT}" rx="3"/><text x="{x + 7:g}" y="{y + 15:g}">{_text(shown)}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _text(text: str) -> str:
    return escape(printable(text))
