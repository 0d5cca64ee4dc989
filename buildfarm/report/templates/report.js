"use strict";
// Draws the timeline, the parallelism and the graph of one build.  All that it knows stands in #data.
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const steps = D.steps, span = Math.max(D.seconds, 0.001);
let colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "panel", "ink", "soft", "line", "remote", "here", "ahead", "link", "critical", "fault", "waste", "pick", "focus", "onbar"])
    colors[name] = style.getPropertyValue("--" + name).trim();
}
const FINE = new Set(["", "done", "held"]), VAIN = new Set(["dropped", "cancelled", "stale", "superseded"]);
function fill(step, attempt) {
  if (step.s === "failed" || !(FINE.has(attempt[5]) || VAIN.has(attempt[5]) || attempt[5] === "failed")) return "fault";
  if (VAIN.has(attempt[5]) || step.s === "held" || step.s === "dropped") return "waste";
  if (step.k !== "compile") return "link";
  if (D.places[attempt[0]][2]) return "here";
  return step.l ? "ahead" : "remote";
}
// Every attempt is a bar: [start, end, row, step, colour, attempt].
const bars = [], rows = [], firstRow = [];
(() => {
  const most = D.places.map((place) => (place[2] ? 0 : place[1]));
  for (const step of steps) for (const a of step.a) most[a[0]] = Math.max(most[a[0]], a[1] + 1);
  D.places.forEach((place, p) => { firstRow[p] = rows.length; for (let i = 0; i < most[p]; i++) rows.push([p, i]); });
  steps.forEach((step, s) => step.a.forEach((a, k) => bars.push([a[2], a[3], firstRow[a[0]] + a[1], s, fill(step, a), k])));
  bars.sort((x, y) => x[0] - y[0]);
})();
const barOf = new Map();
bars.forEach((bar, i) => { if (bar[5] === steps[bar[3]].a.length - 1) barOf.set(bar[3], i); }); // the last attempt counts
let picked = -1;

function surface(canvas, draw) {
  const view = { canvas, context: canvas.getContext("2d"), width: 0, height: 0, waiting: false, drawn: 0 };
  view.paint = () => {
    if (view.waiting) return;
    view.waiting = true;
    requestAnimationFrame(() => {
      view.waiting = false;
      const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
      view.width = box.width; view.height = box.height;
      const w = Math.round(box.width * ratio), h = Math.round(box.height * ratio);
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
      view.context.setTransform(ratio, 0, 0, ratio, 0, 0);
      view.context.clearRect(0, 0, view.width, view.height);
      const begun = performance.now();
      draw(view, view.context);
      view.drawn = performance.now() - begun;
      canvas.dataset.milliseconds = view.drawn.toFixed(2);
    });
  };
  return view;
}
function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText("…" + text.slice(-middle)).width <= width) low = middle; else high = middle - 1;
  }
  return low > 2 ? "…" + text.slice(-low) : "";
}
function ticks(from, to, width) {
  const raw = (to - from) / Math.max(2, width / 90), base = 10 ** Math.floor(Math.log10(raw));
  const step = raw <= 10 ? [1, 2, 5, 10].map((n) => n * base).find((n) => n >= raw)
    : [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].find((n) => n >= raw) || 86400;
  const found = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) found.push(t);
  return [found, step];
}
function clock(t, step) {
  if (step < 1) return t.toFixed(Math.max(1, Math.ceil(-Math.log10(step)))) + " s";
  const whole = Math.round(t), two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  if (hours) return hours + ":" + two(minutes) + ":" + two(whole % 60);
  return minutes ? minutes + ":" + two(whole % 60) : whole + " s";
}
function writeTicks(context, marks, step, x, y, end) {
  for (const t of marks) {
    const text = clock(t, step);
    if (x(t) + 3 + context.measureText(text).width <= end) context.fillText(text, x(t) + 3, y);
  }
}

// --- the timeline ---
const ROW = rows.length > 60 ? 11 : rows.length > 24 ? 15 : 20, GAP = 8, AXIS = 22, LABEL = 150;
let from = 0, to = span;
const rowTop = [];
let bottom = AXIS;
rows.forEach(([p], i) => { if (i && rows[i - 1][0] !== p) bottom += GAP; rowTop.push(bottom); bottom += ROW; });
const timelineCanvas = $("timeline");
timelineCanvas.style.height = Math.max(bottom + 6, 70) + "px";
const label = () => Math.min(LABEL, timeline.width * 0.22);
const timeline = surface(timelineCanvas, (view, c) => {
  const left = label(), scale = (view.width - left) / (to - from);
  const x = (t) => left + (t - from) * scale;
  c.font = "12px system-ui, sans-serif"; c.textBaseline = "middle";
  const [marks, step] = ticks(from, to, view.width - left);
  c.strokeStyle = colors.line; c.fillStyle = colors.soft; c.lineWidth = 1;
  c.beginPath();
  for (const t of marks) { c.moveTo(x(t), AXIS - 4); c.lineTo(x(t), view.height); }
  c.stroke();
  writeTicks(c, marks, step, x, AXIS / 2, view.width);
  const edges = [];
  for (const bar of bars) {
    if (bar[1] < from || bar[0] > to) continue;
    const a = Math.max(x(bar[0]), left), b = Math.min(x(bar[1]), view.width), y = rowTop[bar[2]], w = Math.max(b - a - 0.5, 0.7);
    c.fillStyle = colors[bar[4]];
    c.fillRect(a, y + 1, w, ROW - 2);
    const unit = steps[bar[3]];
    if (unit.c && bar[5] === unit.a.length - 1) edges.push([a, y, w]);
    if (w > 34 && ROW > 12) {
      c.fillStyle = bar[4] === "waste" ? colors.ink : colors.onbar;
      const text = shortened(c, unit.n, w - 8);
      if (text) c.fillText(text, a + 4, y + ROW / 2 + 0.5);
    }
  }
  c.strokeStyle = colors.critical; c.lineWidth = 2;
  for (const [a, y, w] of edges) c.strokeRect(a + 1, y + 2, Math.max(w - 2, 1), ROW - 4);
  // the longest chain, from step to step
  c.beginPath();
  let last = null;
  for (const s of D.path) {
    const bar = bars[barOf.get(s)];
    if (!bar) continue;
    if (last) { c.moveTo(x(last[1]), rowTop[last[2]] + ROW / 2); c.lineTo(x(bar[0]), rowTop[bar[2]] + ROW / 2); }
    last = bar;
  }
  c.globalAlpha = 0.55; c.lineWidth = 1.3; c.stroke(); c.globalAlpha = 1;
  if (picked >= 0) for (const bar of bars) if (bar[3] === picked) {
    c.strokeStyle = colors.pick; c.lineWidth = 2.5;
    c.strokeRect(x(bar[0]) - 1, rowTop[bar[2]], Math.max((bar[1] - bar[0]) * scale, 2) + 2, ROW);
  }
  c.fillStyle = colors.panel; c.fillRect(0, 0, left - 2, view.height);
  c.font = "12px ui-monospace, monospace";
  D.places.forEach((place, p) => {
    const first = firstRow[p];
    if (first >= rows.length || rows[first][0] !== p) return;
    c.fillStyle = colors.ink;
    c.fillText(shortened(c, place[0], left - 14), 8, rowTop[first] + ROW / 2);
  });
});
function clampTime() {
  const width = Math.min(to - from, span * 1.02);
  from = Math.max(-span * 0.01, Math.min(from, span * 1.01 - width));
  to = from + width;
}
function zoom(factor, at) {
  const least = span / 5000;
  if ((to - from) * factor < least) factor = least / (to - from);
  from = at - (at - from) * factor; to = at + (to - at) * factor;
  clampTime(); timeline.paint(); parallel.paint();
}
function pan(by) { from += by; to += by; clampTime(); timeline.paint(); parallel.paint(); }
function everything() { from = 0; to = span; timeline.paint(); parallel.paint(); }
function timeAt(x) { const left = label(); return from + (x - left) / (timeline.width - left) * (to - from); }
function barAt(x, y) {
  const t = timeAt(x), slack = 2 * (to - from) / timeline.width;
  let best = null;
  for (const bar of bars) {
    const top = rowTop[bar[2]];
    if (y < top || y > top + ROW || t < bar[0] - slack || t > bar[1] + slack) continue;
    if (!best || bar[1] - bar[0] < best[1] - best[0]) best = bar;
  }
  return best;
}
function reveal(s) {
  const bar = bars[barOf.get(s)];
  if (!bar) return;
  const width = to - from;
  if (bar[0] < from || bar[1] > to) { from = (bar[0] + bar[1]) / 2 - width / 2; to = from + width; clampTime(); }
  timeline.paint(); parallel.paint();
}

// --- at work at once ---
const changes = [];
for (const bar of bars) changes.push([bar[0], 1, D.places[rows[bar[2]][0]][2]], [bar[1], -1, D.places[rows[bar[2]][0]][2]]);
changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
const curve = [];
let atNodes = 0, atHere = 0, peak = D.slots;
for (const [t, by, here] of changes) {
  if (here) atHere += by; else atNodes += by;
  curve.push([t, atNodes, atHere]);
  peak = Math.max(peak, atNodes + atHere);
}
const parallel = surface($("parallel"), (view, c) => {
  const left = label(), scale = (view.width - left) / (to - from), high = view.height - 22;
  const x = (t) => left + (t - from) * scale, y = (n) => 14 + (high - 14) * (1 - n / Math.max(peak, 1));
  c.save();
  c.beginPath(); c.rect(left, 0, view.width - left, view.height); c.clip();
  for (const [index, color] of [[2, "here"], [1, "remote"]]) {
    c.beginPath(); c.moveTo(x(0), y(0));
    let before = 0;
    for (const point of curve) {
      const n = index === 2 ? point[1] + point[2] : point[1];
      c.lineTo(x(point[0]), y(before)); c.lineTo(x(point[0]), y(n)); before = n;
    }
    c.lineTo(x(span), y(before)); c.lineTo(x(span), y(0)); c.closePath();
    c.fillStyle = colors[color]; c.globalAlpha = index === 2 ? 0.6 : 0.85; c.fill(); c.globalAlpha = 1;
  }
  if (D.slots) {
    c.strokeStyle = colors.critical; c.setLineDash([6, 4]); c.lineWidth = 1.5;
    c.beginPath(); c.moveTo(left, y(D.slots)); c.lineTo(view.width, y(D.slots)); c.stroke(); c.setLineDash([]);
  }
  c.restore();
  c.fillStyle = colors.soft; c.font = "12px system-ui, sans-serif"; c.textBaseline = "middle"; c.textAlign = "right";
  c.fillText("0", left - 6, y(0)); c.fillText(String(peak), left - 6, y(peak));
  if (D.slots && D.slots !== peak) c.fillText(D.slots + " slots", left - 6, y(D.slots) + (peak - D.slots < peak / 8 ? 12 : 0));
  c.textAlign = "left";
  const [marks, step] = ticks(from, to, view.width - left);
  writeTicks(c, marks, step, x, view.height - 10, view.width);
});

// --- the graph ---
const CELL_X = 190, CELL_Y = 22, BOX_W = 150, BOX_H = 16;
const after = steps.map(() => []), before = steps.map(() => []);
for (let i = 0; i < D.edges.length; i += 2) { after[D.edges[i]].push(D.edges[i + 1]); before[D.edges[i + 1]].push(D.edges[i]); }
const shown = steps.map((step) => step.s !== "held" && step.s !== "dropped");
const spot = steps.map((step) => [step.g[0] * CELL_X, step.g[1] * CELL_Y]);
const bounds = [Infinity, Infinity, -Infinity, -Infinity];
spot.forEach(([x, y], s) => { if (shown[s]) { bounds[0] = Math.min(bounds[0], x); bounds[1] = Math.min(bounds[1], y); bounds[2] = Math.max(bounds[2], x + BOX_W); bounds[3] = Math.max(bounds[3], y + BOX_H); } });
let near = null, eye = null;
function fit() {
  const w = Math.max(bounds[2] - bounds[0], BOX_W), h = Math.max(bounds[3] - bounds[1], BOX_H);
  const scale = Math.min(1.2, dag.width / (w + 40), dag.height / (h + 40));
  eye = { x: (bounds[0] + bounds[2]) / 2, y: (bounds[1] + bounds[3]) / 2, scale };
}
const onPath = new Set(D.path.slice(1).map((s, i) => D.path[i] * steps.length + s));
const dag = surface($("dag"), (view, c) => {
  if (!steps.length) return;
  if (!eye) fit();
  const X = (x) => (x - eye.x) * eye.scale + view.width / 2, Y = (y) => (y - eye.y) * eye.scale + view.height / 2;
  const line = (a, b) => {
    const x1 = X(spot[a][0] + BOX_W), y1 = Y(spot[a][1] + BOX_H / 2), x2 = X(spot[b][0]), y2 = Y(spot[b][1] + BOX_H / 2);
    if ((x1 < 0 && x2 < 0) || (x1 > view.width && x2 > view.width) || (y1 < 0 && y2 < 0) || (y1 > view.height && y2 > view.height)) return;
    c.moveTo(x1, y1);
    if (D.edges.length > 8000) c.lineTo(x2, y2); else { const m = (x1 + x2) / 2; c.bezierCurveTo(m, y1, m, y2, x2, y2); }
  };
  c.lineWidth = 1; c.strokeStyle = colors.soft; c.globalAlpha = near ? 0.07 : D.edges.length > 3000 ? 0.12 : 0.3;
  c.beginPath();
  for (let i = 0; i < D.edges.length; i += 2) line(D.edges[i], D.edges[i + 1]);
  c.stroke(); c.globalAlpha = 1;
  c.strokeStyle = colors.critical; c.lineWidth = 2; c.beginPath();
  for (let i = 1; i < D.path.length; i++) line(D.path[i - 1], D.path[i]);
  c.stroke();
  if (near) {
    c.strokeStyle = colors.focus; c.lineWidth = 1.5; c.beginPath();
    for (const [a, b] of near.edges) line(a, b);
    c.stroke();
  }
  const w = BOX_W * eye.scale, h = BOX_H * eye.scale, readable = eye.scale > 0.55;
  c.font = Math.min(12, 11 * eye.scale) + "px system-ui, sans-serif"; c.textBaseline = "middle";
  for (let s = 0; s < steps.length; s++) {
    if (!shown[s]) continue;
    const x = X(spot[s][0]), y = Y(spot[s][1]);
    if (x > view.width || x + w < 0 || y > view.height || y + h < 0) continue;
    const step = steps[s], last = step.a[step.a.length - 1];
    c.globalAlpha = near && !near.members.has(s) ? 0.18 : 1;
    c.fillStyle = colors[last ? fill(step, last) : "here"];
    c.fillRect(x, y, Math.max(w, 1.5), Math.max(h, 1.5));
    if (step.c) { c.strokeStyle = colors.critical; c.lineWidth = 2; c.strokeRect(x, y, w, h); }
    if (s === picked) { c.strokeStyle = colors.pick; c.lineWidth = 2.5; c.strokeRect(x - 1, y - 1, w + 2, h + 2); }
    if (readable) { c.fillStyle = colors.onbar; c.fillText(shortened(c, step.n, w - 8), x + 4, y + h / 2 + 0.5); }
  }
  c.globalAlpha = 1;
});
function neighbourhood(s) {
  const members = new Set([s]), found = [];
  for (const [map, forward] of [[before, false], [after, true]]) {
    const queue = [s], seen = new Set([s]);
    while (queue.length) {
      const here = queue.pop();
      for (const other of map[here]) {
        found.push(forward ? [here, other] : [other, here]);
        if (!seen.has(other)) { seen.add(other); members.add(other); queue.push(other); }
      }
    }
  }
  return { members, edges: found };
}
function dagAt(px, py) {
  const x = (px - dag.width / 2) / eye.scale + eye.x, y = (py - dag.height / 2) / eye.scale + eye.y;
  return spot.findIndex(([a, b], s) => shown[s] && x >= a && x <= a + BOX_W && y >= b - 2 && y <= b + BOX_H + 2);
}
function dagZoom(factor, px = dag.width / 2, py = dag.height / 2) {
  const x = (px - dag.width / 2) / eye.scale, y = (py - dag.height / 2) / eye.scale;
  const scale = Math.max(0.01, Math.min(3, eye.scale * factor));
  eye.x += x - x * eye.scale / scale; eye.y += y - y * eye.scale / scale; eye.scale = scale;
  dag.paint();
}
function dagCentre(s) { if (!eye) fit(); eye.x = spot[s][0] + BOX_W / 2; eye.y = spot[s][1]; eye.scale = Math.max(eye.scale, 0.8); dag.paint(); }

// --- one unit's story ---
const panel = $("unit");
const OUTCOMES = { done: "done", held: "compiled ahead of make", dropped: "in vain", failed: "failed", "": "under way at the end" };
function bytes(n) { return n < 1000 ? n + " bytes" : n < 1e6 ? (n / 1e3).toFixed(1) + " kB" : (n / 1e6).toFixed(1) + " MB"; }
function element(tag, text, more) { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; return Object.assign(made, more); }
function story(s) {
  const step = steps[s], list = element("dl");
  const row = (name, value) => { if (value) { list.append(element("dt", name)); const d = element("dd"); d.append(value); list.append(d); } };
  panel.replaceChildren(element("button", "Close", { id: "close", type: "button", onclick: hide }), element("h3", step.n));
  row("took", step.t.toFixed(2) + " s" + (step.c ? ", on the longest chain" : ""));
  row("where", D.places[step.p] ? D.places[step.p][0] : "");
  row("here, as", step.r);
  if (step.l && step.q !== null) row("ahead", "compiled before make asked; put in its place at " + step.q.toFixed(1) + " s");
  if (step.o || step.i) row("network", bytes(step.o) + " sent, " + bytes(step.i) + " received");
  if (step.w) row("source", step.w);
  step.a.forEach((a) => row("attempt " + a[4], a[2].toFixed(2) + " to " + a[3].toFixed(2) + " s on " + D.places[a[0]][0] + ": " + (OUTCOMES[a[5]] ?? a[5]) + (a[6] ? ": " + a[6] : "")));
  for (const [name, others] of [["waited for", before[s]], ["needed by", after[s]]]) {
    if (!others.length) continue;
    const holder = element("span");
    others.slice(0, 12).forEach((other, i) => { if (i) holder.append(", "); holder.append(element("a", steps[other].n, { onclick: () => choose(other), tabIndex: 0, onkeydown: (event) => { if (event.key === "Enter") choose(other); } })); });
    if (others.length > 12) holder.append(" and " + (others.length - 12) + " more");
    row(name, holder);
  }
  if (step.x) row("status", String(step.x));
  panel.append(list, element("pre", "cd " + step.d + "\n" + step.m));
  if (step.e) panel.append(element("pre", step.e));
  panel.hidden = false;
}
function hide() { panel.hidden = true; choose(-1, false); }
function choose(s, open = true) {
  picked = s;
  near = s >= 0 ? neighbourhood(s) : null;
  if (s >= 0) { reveal(s); if (open || !panel.hidden) story(s); }
  timeline.paint(); dag.paint();
}

// --- hands ---
const hint = $("hint");
function tell(event, text) {
  if (!text) { hint.style.display = "none"; return; }
  hint.textContent = text; hint.style.display = "block";
  const box = hint.getBoundingClientRect();
  hint.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  hint.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + "px";
}
function handle(canvas, { drag, wheel, click, hover }) {
  let held = null, moved = false;
  canvas.addEventListener("pointerdown", (event) => { held = [event.offsetX, event.offsetY]; moved = false; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const dx = event.offsetX - held[0], dy = event.offsetY - held[1];
      if (moved || Math.abs(dx) + Math.abs(dy) > 3) { moved = true; drag(dx, dy); held = [event.offsetX, event.offsetY]; tell(event, ""); }
    } else tell(event, hover(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("pointerup", (event) => { if (held && !moved) click(event.offsetX, event.offsetY); held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointerleave", (event) => tell(event, ""));
  canvas.addEventListener("wheel", (event) => { if (!wheel) return; event.preventDefault(); wheel(event); }, { passive: false });
}
const brief = (step, a) => step.n + "\n" + (a ? (a[3] - a[2]).toFixed(2) : step.t.toFixed(2)) + " s, " + D.places[a ? a[0] : Math.max(step.p, 0)][0] + (step.c ? ", longest chain" : "") + (a && a[6] ? "\n" + a[6] : "");
handle(timelineCanvas, {
  drag: (dx) => pan(-dx / (timeline.width - label()) * (to - from)),
  wheel: (event) => { if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / timeline.width * (to - from)); else zoom(Math.exp(event.deltaY * 0.0022), timeAt(event.offsetX)); },
  click: (x, y) => { const bar = barAt(x, y); if (bar) choose(bar[3]); else hide(); },
  hover: (x, y) => { const bar = barAt(x, y); return bar ? brief(steps[bar[3]], steps[bar[3]].a[bar[5]]) : ""; },
});
handle($("dag"), {
  drag: (dx, dy) => { eye.x -= dx / eye.scale; eye.y -= dy / eye.scale; dag.paint(); },
  wheel: (event) => dagZoom(Math.exp(-event.deltaY * 0.0018), event.offsetX, event.offsetY),
  click: (x, y) => { const s = dagAt(x, y); if (s >= 0) choose(s); else hide(); },
  hover: (x, y) => { const s = dagAt(x, y); return s >= 0 ? brief(steps[s]) : ""; },
});
const order = [...new Set(bars.map((bar) => bar[3]))];
function neighbour(by) { const i = order.indexOf(picked); choose(order[(i < 0 ? (by > 0 ? 0 : order.length - 1) : (i + by + order.length) % order.length)], false); }
function alongChain() { if (D.path.length) choose(D.path[(D.path.indexOf(picked) + 1) % D.path.length], false); }
function otherRow(by) {
  const bar = picked >= 0 ? bars[barOf.get(picked)] : bars[0];
  if (!bar) return;
  const middle = (bar[0] + bar[1]) / 2;
  for (let row = bar[2] + by; row >= 0 && row < rows.length; row += by) {
    const there = bars.filter((other) => other[2] === row);
    if (there.length) { there.sort((a, b) => Math.abs((a[0] + a[1]) / 2 - middle) - Math.abs((b[0] + b[1]) / 2 - middle)); choose(there[0][3], false); return; }
  }
}
function walk(map) { if (picked < 0) { alongChain(); return; } const next = [...map[picked]].sort((a, b) => steps[b].c - steps[a].c)[0]; if (next !== undefined) { choose(next, false); dagCentre(next); } }
function sideways(by) {
  if (picked < 0) { alongChain(); return; }
  const layer = steps.map((step, s) => s).filter((s) => shown[s] && spot[s][0] === spot[picked][0]).sort((a, b) => spot[a][1] - spot[b][1]);
  const next = layer[layer.indexOf(picked) + by];
  if (next !== undefined) { choose(next, false); dagCentre(next); }
}
const KEYS = {
  "/": () => $("find").focus(), "?": () => $("help").showModal(), t: () => theme(), n: () => neighbour(1), p: () => neighbour(-1),
  c: alongChain, g: () => { if (picked >= 0) { $("dag").focus(); dagCentre(picked); } }, Escape: hide,
  Enter: () => { if (picked >= 0) story(picked); },
};
const TIMELINE_KEYS = { ArrowLeft: () => pan(-(to - from) / 8), ArrowRight: () => pan((to - from) / 8), ArrowUp: () => otherRow(-1), ArrowDown: () => otherRow(1), "+": () => zoom(0.7, middleTime()), "=": () => zoom(0.7, middleTime()), "-": () => zoom(1.4, middleTime()), "0": everything };
const DAG_KEYS = { ArrowLeft: () => walk(before), ArrowRight: () => walk(after), ArrowUp: () => sideways(-1), ArrowDown: () => sideways(1), "+": () => dagZoom(1.3), "=": () => dagZoom(1.3), "-": () => dagZoom(0.77), "0": () => { fit(); dag.paint(); } };
function middleTime() { const bar = picked >= 0 ? bars[barOf.get(picked)] : null; return bar && bar[0] >= from && bar[1] <= to ? (bar[0] + bar[1]) / 2 : (from + to) / 2; }
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const target = event.target;
  if (target.tagName === "INPUT") return;
  const own = target.id === "timeline" ? TIMELINE_KEYS : target.id === "dag" ? DAG_KEYS : {};
  if (event.key === "Enter" && (target.tagName === "BUTTON" || target.tagName === "A" || target.dataset.step)) return;
  const act = own[event.key] || KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => ({ in: () => zoom(0.6, middleTime()), out: () => zoom(1.6, middleTime()), all: everything, critical: () => { alongChain(); timelineCanvas.focus(); } })[button.dataset.do]()));
document.querySelectorAll("[data-dag]").forEach((button) => button.addEventListener("click", () => ({ in: () => dagZoom(1.4), out: () => dagZoom(0.7), all: () => { fit(); dag.paint(); } })[button.dataset.dag]()));
document.querySelectorAll("tr[data-step]").forEach((row) => {
  row.tabIndex = 0;
  const open = () => choose(Number(row.dataset.step));
  row.addEventListener("click", open);
  row.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
});
// finding
const find = $("find"), matches = $("matches");
let hits = [], at = 0;
function list() {
  const wanted = find.value.toLowerCase().trim();
  hits = [];
  if (wanted) for (let s = 0; s < steps.length && hits.length < 30; s++) if (shown[s] && steps[s].n.toLowerCase().includes(wanted)) hits.push(s);
  at = Math.min(at, Math.max(0, hits.length - 1));
  matches.replaceChildren(...hits.map((s, i) => { const item = element("li", steps[s].n + "  " + steps[s].t.toFixed(2) + " s", { role: "option", onmousedown: (event) => { event.preventDefault(); take(s); } }); item.setAttribute("aria-selected", i === at); return item; }));
  if (wanted && !hits.length) matches.replaceChildren(element("li", "no unit of this name"));
  matches.hidden = !wanted; find.setAttribute("aria-expanded", String(!matches.hidden));
}
function take(s) { matches.hidden = true; find.value = ""; choose(s); timelineCanvas.focus(); }
find.addEventListener("input", () => { at = 0; list(); });
find.addEventListener("blur", () => { matches.hidden = true; });
find.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") { at = Math.max(0, Math.min(hits.length - 1, at + (event.key === "ArrowDown" ? 1 : -1))); list(); event.preventDefault(); }
  else if (event.key === "Enter" && hits.length) take(hits[at]);
  else if (event.key === "Escape") { find.value = ""; list(); timelineCanvas.focus(); event.preventDefault(); }
});
function paintAll() { readColors(); timeline.paint(); parallel.paint(); dag.paint(); }
function theme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme || (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  paintAll();
}
$("theme").addEventListener("click", theme);
$("keys").addEventListener("click", () => $("help").showModal());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintAll);
addEventListener("resize", () => { eye = null; paintAll(); });
paintAll();
