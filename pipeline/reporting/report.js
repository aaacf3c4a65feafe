"use strict";
// Draws the charts of report.html from the JSON in the element `data`, and again when a button changes what is shown.

const data = JSON.parse(document.getElementById("data").textContent);
const FAMILIES = ["plain", "residual"];
const SPLITS = { train: "training error", val: "validation error" };
const TWO_COLUMNS = 640; // pixels of width
const GAP = 12;
const HEIGHT = 270;
const EDGE = { left: 52, right: 34, top: 28, bottom: 38 };
const NEAR = 40; // pixels from the pointer to a line that it finds
const LABEL = 13; // pixels between labels at the ends of lines
const hidden = new Set(); // names of networks
const shown = { train: true, val: true, seeds: true, log: false };
const tip = document.getElementById("tip");

function svg(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  assign(made, attributes);
  made.textContent = text;
  return made;
}

function assign(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
}

function label(x, y, text, attributes = {}) {
  return svg("text", { x, y, "dominant-baseline": "central", ...attributes }, text);
}

function segment(x1, y1, x2, y2, kind) {
  return svg("line", { x1, y1, x2, y2, class: kind });
}

function number(value) {
  return String(Number(value.toPrecision(6)));
}

function signed(value) {
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
}

function thousands(value) {
  return value >= 10000 ? `${number(value / 1000)}k` : number(value);
}

// Returns round numbers between two values, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= 0.999 * rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

// Returns the lines of a panel, means last; `points` are [iteration, error in per cent].
function linesOf(split, family) {
  const networks = data.networks.filter((one) => one.family === family && !hidden.has(one.name));
  const several = shown.seeds ? networks.filter((one) => one.runs.length > 1) : [];
  const seeds = several.flatMap((network) => network.runs.map((run) => ({ network, run, points: run[split] })));
  const means = networks.map((network) => ({ network, run: null, points: network.mean[split] }));
  return [...seeds, ...means].filter((line) => line.points.length > 0);
}

// Returns the vertical axis that all panels share: a position for an error, and ticks [error, text].
function verticalAxis(errors) {
  const from = HEIGHT - EDGE.bottom;
  const span = from - EDGE.top;
  const highest = errors.length ? errors.reduce((most, error) => Math.max(most, error), 1e-3) : 100;
  if (!shown.log) {
    const top = 1.04 * highest;
    return { y: (error) => from - (span * error) / top, marks: ticks(0, top, 5).map((t) => [t, number(t)]) };
  }
  const lowest = errors.reduce((least, error) => (error > 0 ? Math.min(least, error) : least), highest);
  const zero = errors.some((error) => error <= 0);
  const [bottom, top] = [(zero ? 0.2 : 0.85) * lowest, 1.15 * highest];
  const decades = Math.log10(top / bottom);
  const factors = decades > 2.5 ? [1] : decades > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  const powers = Array.from({ length: Math.ceil(decades) + 2 }, (_, i) => 10 ** (Math.floor(Math.log10(bottom)) + i));
  const inside = powers.flatMap((power) => factors.map((factor) => factor * power));
  const marks = inside.filter((t) => t >= (zero ? lowest : bottom) && t <= top).map((t) => [t, number(t)]);
  const y = (error) => from - (span * Math.log10(Math.max(error, bottom) / bottom)) / decades;
  return { y, marks: zero ? [[0, "0"], ...marks] : marks };
}

function drawCurves() {
  const root = document.getElementById("curves");
  const columns = root.clientWidth >= TWO_COLUMNS ? 2 : 1;
  const width = Math.floor((root.clientWidth - GAP * (columns - 1)) / columns);
  const splits = Object.keys(SPLITS).filter((split) => shown[split]);
  const panelOf = (split, family) => ({ split, family, lines: linesOf(split, family) });
  const panels = splits.flatMap((split) => FAMILIES.map((family) => panelOf(split, family)));
  const errors = panels.flatMap((panel) => panel.lines.flatMap((line) => line.points.map((point) => point[1])));
  const axis = verticalAxis(errors);
  const iterations = Math.max(1, ...data.networks.map((network) => network.iterations));
  root.replaceChildren(...panels.map((panel) => drawPanel(panel, width, axis, iterations)));
  if (!splits.length) root.textContent = "Choose training or validation.";
}

function drawPanel({ split, family, lines }, width, axis, iterations) {
  const title = `${family} networks, ${SPLITS[split]} (%)`;
  const root = svg("svg", { class: "panel", width, height: HEIGHT, role: "img", "aria-label": title });
  const [right, bottom] = [width - EDGE.right, HEIGHT - EDGE.bottom];
  const x = (iteration) => EDGE.left + ((right - EDGE.left) * iteration) / iterations;
  for (const [error, text] of axis.marks) {
    root.append(segment(EDGE.left, axis.y(error), right, axis.y(error), "grid"));
    root.append(label(EDGE.left - 6, axis.y(error), text, { "text-anchor": "end" }));
  }
  for (const iteration of ticks(0, iterations, 4)) {
    root.append(label(x(iteration), bottom + 13, thousands(iteration), { "text-anchor": "middle" }));
  }
  root.append(label((EDGE.left + right) / 2, HEIGHT - 9, "iteration", { "text-anchor": "middle" }));
  root.append(label(EDGE.left, 14, title, { class: "title" }));
  const drops = new Set(lines.flatMap((line) => line.network.drops));
  for (const drop of drops) root.append(segment(x(drop), EDGE.top, x(drop), bottom, "drop"));
  const drawn = lines.map((line) => ({ ...line, at: line.points.map(([i, error]) => [x(i), axis.y(error)]) }));
  for (const line of drawn) root.append(drawLine(line));
  root.append(...endLabels(drawn.filter((line) => !line.run), bottom));
  if (!lines.length) root.append(label((EDGE.left + right) / 2, HEIGHT / 2, "no line", { "text-anchor": "middle" }));
  root.append(svg("circle", { class: "mark", r: 4, visibility: "hidden" }));
  for (const kind of ["pointermove", "pointerdown"]) {
    root.addEventListener(kind, (event) => hover(event, root, drawn, split));
  }
  root.addEventListener("pointerleave", () => leave(root));
  return root;
}

function drawLine({ network, run, at }) {
  const way = at.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
  const [thin, bold] = [{ "stroke-width": 0.9, "stroke-opacity": 0.55 }, { "stroke-width": 2 }];
  const look = run ? thin : { ...bold, "stroke-dasharray": network.dash };
  const path = svg("path", { d: `M${way}${at.length > 1 ? "" : "h0.1"}`, stroke: network.color, ...look });
  path.dataset.line = network.name;
  path.dataset.kind = run ? "seed" : "mean";
  return path;
}

// Returns the numbers of layers at the ends of lines; those that would overlap become a stack around their mean.
function endLabels(lines, bottom) {
  const apart = Math.min(LABEL, (bottom - EDGE.top) / Math.max(1, lines.length));
  const stack = (members) => {
    const [half, mean] = [(apart * members.length) / 2, members.reduce((sum, end) => sum + end.y, 0) / members.length];
    return { members, half, y: Math.min(bottom - half, Math.max(EDGE.top + half, mean)) };
  };
  const stacks = [];
  const ends = lines.map(({ network, at }) => ({ network, x: at.at(-1)[0], y: at.at(-1)[1] }));
  for (const end of ends.sort((a, b) => a.y - b.y)) {
    stacks.push(stack([end]));
    while (stacks.length > 1 && stacks.at(-1).y - stacks.at(-1).half < stacks.at(-2).y + stacks.at(-2).half) {
      const [above, below] = stacks.splice(-2);
      stacks.push(stack([...above.members, ...below.members]));
    }
  }
  return stacks.flatMap(({ members, half, y }) => members.map(({ network, x }, i) => {
    const text = label(x + 5, y - half + apart * (i + 0.5), network.depth, { class: "end" });
    text.style.fill = network.color;
    return text;
  }));
}

// Shows the values of the point that is nearest to the pointer.
function hover(event, root, lines, split) {
  const box = root.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let best = { distance: NEAR };
  for (const line of lines) {
    line.at.forEach(([x, y], i) => {
      const distance = Math.hypot(x - px, y - py);
      if (distance < best.distance) best = { distance, line, i };
    });
  }
  if (!best.line) return leave(root);
  const { network, run, points, at } = best.line;
  const [iteration, error] = points[best.i];
  const only = network.runs.length === 1 ? network.runs[0] : run;
  const mean = network.mean[split].find((point) => point[0] === iteration);
  const rest = run && mean ? `\nmean over seeds: ${number(mean[1])} %` : "";
  const who = only ? `${network.name}, seed ${only.seed}` : `${network.name}, mean of ${network.runs.length} seeds`;
  show(event, `${who}\niteration ${iteration}: ${SPLITS[split]} ${number(error)} %${rest}`);
  const mark = root.querySelector(".mark");
  const [cx, cy] = at[best.i];
  assign(mark, { cx, cy, fill: network.color, visibility: "visible" });
  return emphasise(network.name);
}

function leave(root) {
  tip.hidden = true;
  root.querySelector(".mark").setAttribute("visibility", "hidden");
  emphasise(null);
}

// Dims the lines of all other networks; null dims none.
function emphasise(name) {
  for (const path of document.querySelectorAll("[data-line]")) {
    path.classList.toggle("dim", name !== null && path.dataset.line !== name);
  }
}

function show({ clientX, clientY }, text) {
  tip.textContent = text;
  tip.hidden = false;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${clientY + 18 + height > innerHeight ? clientY - height - 12 : clientY + 18}px`;
}

function drawForest() {
  const root = document.getElementById("forest");
  const rows = data.claims.filter((claim) => claim.effect !== null && claim.interval && claim.scale === "log odds");
  if (!rows.length) {
    root.textContent = "No claim has an effect on this scale with an interval.";
    return;
  }
  const width = root.clientWidth;
  const wide = width >= TWO_COLUMNS;
  const frame = { wide, width, row: wide ? 26 : 42, left: wide ? 130 : 10, right: width - (wide ? 180 : 10) };
  const [margin, effects] = [data.margin, rows.map((claim) => claim.effect)];
  const widest = 2 * Math.max(...effects.map(Math.abs), 3 * margin); // intervals of two seeds are endless
  const low = Math.max(-widest, Math.min(...rows.map((claim) => claim.interval[0]), -3 * margin) - 2 * margin);
  const high = Math.min(widest, Math.max(...rows.map((claim) => claim.interval[1]), 3 * margin) + 2 * margin);
  const x = (effect) => {
    const inside = Math.min(high, Math.max(low, effect ?? low));
    return frame.left + ((frame.right - frame.left) * (inside - low)) / (high - low);
  };
  const bottom = rows.length * frame.row + 6;
  const chart = svg("svg", { width, height: bottom + 40, role: "group", "aria-label": "effects of the tested claims" });
  const body = rows.map((claim, i) => forestRow(claim, i * frame.row + 6, frame, x, high));
  chart.append(...body.map((one) => one.ground));
  const middle = { "text-anchor": "middle" };
  for (const t of ticks(low, high, wide ? 8 : 4)) {
    chart.append(segment(x(t), 6, x(t), bottom, "grid"), label(x(t), bottom + 13, number(t), middle));
  }
  for (const t of [-margin, margin]) chart.append(segment(x(t), 6, x(t), bottom, "margin"));
  const name = label((frame.left + frame.right) / 2, bottom + 30, "effect, log odds of an error", middle);
  chart.append(...body.map((one) => one.group), name);
  root.replaceChildren(chart);
}

// Returns the shaded rectangle of a claim, which is below the grid, and the rest of its row.
function forestRow(claim, top, { wide, width, row, left, right }, x, high) {
  const y = top + (wide ? row / 2 : row - 13);
  const [from, to] = [x(claim.bounds[0]), x(claim.bounds[1] ?? high)];
  const ground = svg("rect", { class: "holds", x: from, y: y - 10, width: Math.max(0, to - from), height: 20 });
  const text = describe(claim);
  const group = svg("g", { tabindex: 0, role: "img", "aria-label": text });
  group.dataset.claim = claim.id;
  group.append(svg("rect", { class: "hit", x: 0, y: top, width, height: row }));
  if (wide) group.append(label(left - 10, y, claim.id, { "text-anchor": "end" }), label(right + 10, y, claim.verdict));
  else group.append(label(left, top + 10, `${claim.id}: ${claim.verdict}`));
  group.append(segment(x(claim.interval[0]), y, x(claim.interval[1]), y, "interval"));
  const kind = claim.verdict === "indicative" ? "indicative" : "tested";
  group.append(svg("circle", { class: kind, cx: x(claim.effect), cy: y, r: 4.5 }));
  for (const name of ["pointermove", "pointerdown"]) group.addEventListener(name, (event) => show(event, text));
  group.addEventListener("focus", () => {
    const box = group.getBoundingClientRect();
    show({ clientX: box.left + left, clientY: box.bottom - 10 }, text);
  });
  for (const name of ["pointerleave", "blur"]) group.addEventListener(name, () => { tip.hidden = true; });
  return { ground, group };
}

function describe(claim) {
  const interval = claim.interval.map(signed).join(", ");
  const ps = [["for", claim.p_for], ["against", claim.p_against]].filter((pair) => pair[1] !== null);
  const tested = ps.map(([side, p]) => `p ${side} ${p < 0.001 ? "< 0.001" : p.toFixed(3)}`).join(", ");
  const effect = `${claim.label}: ${signed(claim.effect)} [${interval}]`;
  return [`${claim.id}: ${claim.claim}`, effect, claim.verdict, tested].filter(Boolean).join("\n");
}

// Sorts the rows of the table by a column: as numbers where it has any, what was not run last.
function sortBy(heading) {
  const headings = [...heading.parentElement.children];
  const column = headings.indexOf(heading);
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of headings) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = heading.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => [row, row.cells[column].textContent]);
  const value = (text) => Number.parseFloat(text.replaceAll(",", ""));
  const numeric = keyed.some((pair) => !Number.isNaN(value(pair[1])));
  keyed.sort(([, a], [, b]) => {
    if (!numeric) return (ascending ? 1 : -1) * a.localeCompare(b, "en", { numeric: true });
    const [u, v] = [value(a), value(b)];
    return Number.isNaN(u) - Number.isNaN(v) || (ascending ? u - v : v - u) || 0;
  });
  body.append(...keyed.map((pair) => pair[0]));
}

function press(button, on) {
  button.setAttribute("aria-pressed", on);
}

function toggleNetworks(buttons, on) {
  for (const button of buttons) {
    if (on) hidden.delete(button.dataset.network);
    else hidden.add(button.dataset.network);
    press(button, on);
  }
  drawCurves();
}

function connect() {
  for (const button of document.querySelectorAll("[data-switch]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.switch;
      shown[name] = !shown[name];
      press(button, shown[name]);
      drawCurves();
    });
  }
  for (const button of document.querySelectorAll("[data-network]")) {
    button.addEventListener("click", () => toggleNetworks([button], hidden.has(button.dataset.network)));
    button.addEventListener("pointerenter", () => {
      emphasise(hidden.has(button.dataset.network) ? null : button.dataset.network);
    });
    button.addEventListener("pointerleave", () => emphasise(null));
  }
  for (const button of document.querySelectorAll("[data-family]")) {
    button.addEventListener("click", () => {
      const members = [...button.parentElement.querySelectorAll("[data-network]")];
      toggleNetworks(members, members.every((one) => hidden.has(one.dataset.network)));
    });
  }
  for (const heading of document.querySelectorAll("#networks thead th")) {
    heading.querySelector("button").addEventListener("click", () => sortBy(heading));
  }
  document.getElementById("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const { dataset } = document.documentElement;
    dataset.theme = (dataset.theme ?? dark) === "dark" ? "light" : "dark";
  });
}

function draw() {
  drawCurves();
  drawForest();
}

connect();
draw();
addEventListener("resize", draw);
