// The page itself: sections, tables, charts and what a reader does with them.

const data = JSON.parse(byId("data").textContent);
const ABSENT = 255; // in a trace
const SHOWN_AT_FIRST = 8; // trackers drawn before anyone chooses: more hide each other
const RANKING = data.metrics.length - 1; // the metric that ranks trackers
const TRACKERS = data.trackers.map((_, place) => place);
const RANKS = TRACKERS.length - 1;
const SEQUENCES = data.sequences.map((_, place) => place);
const SHAPE_SPACE = byId("blank").namespaceURI;

// All that a reader can change. Who changes it calls the redraw functions of what depends on it.
const state = {
  shown: new Set(TRACKERS.slice(0, SHOWN_AT_FIRST)),
  attribute: null, // name of the attribute whose sequences are scored
  chosen: null, // the sequences that are scored, as a set of places; null: all
  metric: RANKING,
  pair: [0, 1], // trackers that are compared
  sequence: 0,
  pointed: false, // whether a reader has chosen the sequence
  range: null, // [first, last] frame of the timeline; null: the whole sequence
  frame: null, // frame that is pointed at
  theme: null, // "dark" or "light"; null: as the system
};

// --- elements: data enters the page as text and attributes alone ---

function byId(name) {
  return document.getElementById(name);
}

function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SHAPE_SPACE, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function format(value, digits = 2) {
  return value === null || value === undefined ? "–" : fixed(value, digits);
}

function colourOf(place) {
  return `var(--tracker-${place})`;
}

// A tracker's line with its dot.
function swatch(place) {
  const { dash, marker } = data.trackers[place];
  return swatchOf(colourOf(place), dash, shape("path", { d: markerPath(marker, 13, 6, 3.6), fill: colourOf(place) }));
}

function swatchOf(stroke, dash, ...more) {
  const line = shape("line", { x1: 0, x2: 26, y1: 6, y2: 6, stroke, "stroke-width": 2, "stroke-dasharray": dash.join(" ") });
  return shape("svg", { class: "swatch", width: 26, height: 12, "aria-hidden": "true" }, line, ...more);
}

// The whole name is the hint; where even the short one does not fit, the style sheet caps it.
function trackerName(place, ...before) {
  const { name, label } = data.trackers[place];
  const words = element("span", {}, shorten(label, 26));
  return element("label", { class: "tracker", title: name }, ...before, swatch(place), words);
}

function section(name) {
  byId(name).hidden = false;
  return byId(name);
}

// --- tables ---

const tables = new Map(); // id → {columns, entries: rows as they are sorted now, sorted: [column, falling] or null}

// columns: {label, number, ranked?: has a best, head?: node above the label, title?: whole label};
// rows: arrays of {value, content, text: as it is copied, half?: what follows ± there, mark?}; value null sorts last.
// sorted: the column by which rows are sorted until a reader sorts; null leaves their order. Returns the rows' nodes.
function makeTable(table, columns, rows, sorted, descending = true) {
  const chosen = tables.get(table.id)?.sorted;
  const body = element("tbody");
  const entries = rows.map((cells) => ({ cells, node: element("tr", {}, ...cells.map(makeCell)) }));
  const nodes = entries.map((entry) => entry.node);
  const heads = columns.map((column, place) => {
    const words = element("span", { class: "words" }, column.label);
    const button = element("button", { class: "plain" }, ...(column.head ? [column.head] : []), words);
    const head = element("th", { scope: "col", title: column.title || null }, button);
    button.addEventListener("click", () => {
      const falling = head.hasAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : Boolean(column.number);
      tables.get(table.id).sorted = [place, falling];
      sortBy(place, falling);
    });
    return head;
  });
  function sortBy(place, falling) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[place].setAttribute("aria-sort", falling ? "descending" : "ascending");
    entries.sort((a, b) => compareValues(a.cells[place].value, b.cells[place].value, falling));
    body.append(...entries.map((entry) => entry.node));
  }
  if (chosen) sortBy(...chosen);
  else if (sorted === null) body.append(...nodes);
  else sortBy(sorted, descending);
  table.replaceChildren(element("thead", {}, element("tr", {}, ...heads)), body);
  tables.set(table.id, { columns, entries, sorted: chosen || null });
  return nodes;
}

function makeCell({ content, mark }) {
  return element("td", { class: mark || null }, ...(Array.isArray(content) ? content : [content]));
}

function compareValues(a, b, falling) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return falling ? -order : order;
}

// Text → "best" or "second". Equal as written is equal: 47.381 and 47.379 are both the best 47.38.
function marksOf(values) {
  const numbers = values.filter((value) => value !== null);
  if (numbers.length < 2) return new Map();
  const falling = [...new Set(numbers.map((value) => format(value)))].sort((a, b) => b - a);
  return new Map([[falling[0], "best"], ...(numbers.length > 2 && falling.length > 1 ? [[falling[1], "second"]] : [])]);
}

// ends: of the interval; [] if there is none.
function numberCell(value, marks, ends = []) {
  const [low, high] = ends;
  const small = low === undefined ? [] : [element("small", {}, `${format(low, 1)} to ${format(high, 1)}`)];
  const number = element("span", { class: "number" }, format(value));
  return { value, content: [number, ...small], mark: marks.get(format(value)), ...copied(value, ends) };
}

// `text` and `half` of a cell.
function copied(value, [low, high], digits = 2) {
  return { text: value === null ? "-" : format(value, digits), half: low === undefined ? "" : format((high - low) / 2, 1) };
}

// --- head, scores, protocols ---

function drawHead() {
  byId("title").textContent = data.title;
  byId("badges").append(...data.badges.map((badge) => element("span", { class: "badge" }, badge)));
  byId("protocol").textContent = data.protocol;
}

function drawContents() {
  const shown = [...document.querySelectorAll("main > section:not([hidden])")];
  const links = shown.map((part) => {
    const link = element("a", { href: `#${part.id}` }, part.querySelector("h2").textContent);
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address holds the state
      part.scrollIntoView();
    });
    return link;
  });
  byId("contents").append(...links);
}

function drawScores() {
  section("scores");
  const intervals = view.trackers.some((tracker) => tracker.intervals.some((ends) => ends.length));
  const small = view.pending ? " Intervals follow." : intervals ? " Small: 95 % interval, bootstrap over sequences." : "";
  const few = TRACKERS.length > SHOWN_AT_FIRST ? `, at first the best ${SHOWN_AT_FIRST}` : "";
  const drawn = `Ticked trackers are drawn${few}.`;
  byId("scores-words").textContent = `Per cent, ${data.metrics[RANKING]} ranks.${small} ${drawn}`;
  const columns = [{ label: "Tracker" }, ...data.metrics.map((label) => ({ label, number: true, ranked: true }))];
  const measured = data.trackers.some((tracker) => tracker.fps !== null);
  if (measured) columns.push({ label: "FPS", number: true, ranked: true });
  const marks = data.metrics.map((_, metric) => marksOf(view.trackers.map((tracker) => tracker.scores[metric])));
  const rows = view.ranking.map((place) => {
    const tracker = view.trackers[place];
    const scores = tracker.scores.map((score, metric) => numberCell(score, marks[metric], tracker.intervals[metric]));
    const fps = { value: tracker.fps, content: format(tracker.fps, 1), ...copied(tracker.fps, [], 1) };
    return [nameCell(place, tickBox(place)), ...scores, ...(measured ? [fps] : [])];
  });
  makeTable(byId("scores-table"), columns, rows, data.metrics.length);
}

function nameCell(place, ...before) {
  const { name } = data.trackers[place];
  return { value: name, content: trackerName(place, ...before), text: name };
}

function drawProtocols() {
  if (!data.protocols.length) return;
  section("protocols");
  const [head, ...body] = data.protocols;
  const values = body.map((row) => row.slice(1).map((cell) => (cell === "-" ? null : Number(cell))));
  const marks = head.slice(1).map((_, column) => marksOf(values.map((row) => row[column])));
  const rows = values.map((row, place) => [nameCell(place), ...row.map((value, column) => numberCell(value, marks[column]))]);
  const columns = head.map((name, place) => ({ label: name, number: place > 0, ranked: place > 0 }));
  const ranking = head.findIndex((name) => name.startsWith(`${data.metrics[RANKING]} `));
  makeTable(byId("protocols-table"), columns, rows, ranking);
}

// --- which trackers are drawn ---

function tickBox(place) {
  const box = element("input", { type: "checkbox", "data-tracker": place });
  box.checked = state.shown.has(place);
  box.addEventListener("change", () => {
    if (box.checked) state.shown.add(place);
    else state.shown.delete(place);
    redrawTrackers();
  });
  return box;
}

function shownTrackers() {
  return TRACKERS.filter((place) => state.shown.has(place));
}

function drawLegends() {
  for (const legend of document.querySelectorAll(".legend:not(#robustness-legend)")) {
    legend.append(...TRACKERS.map((place) => trackerName(place, tickBox(place))));
    if (TRACKERS.length > 3) legend.append(chooseButton("all", TRACKERS), chooseButton("best 3", TRACKERS.slice(0, 3)));
  }
}

function chooseButton(label, places) {
  const choose = () => {
    state.shown = new Set(places);
    redrawTrackers();
  };
  return element("button", { onclick: choose }, label);
}

function redrawTrackers() {
  for (const box of document.querySelectorAll("input[data-tracker]")) {
    box.checked = state.shown.has(Number(box.dataset.tracker));
    box.parentNode.classList.toggle("off", !box.checked);
  }
  drawLongestFailures();
  drawCharts();
  remember();
}

function drawCharts() {
  drawCurves();
  drawRobustness();
  drawAttributeChart();
  drawPairChart();
  drawTimeline();
  drawFailureChart();
  document.querySelectorAll(".scroll").forEach(showWhetherMore);
}

// --- charts ---

const MARGIN = { left: 38, right: 14, top: 20, bottom: 38 };

// A linear scale from [low, high] of data to pixels, and back.
function scale(low, high, first, last) {
  const factor = (last - first) / (high - low || 1);
  const map = (value) => first + (value - low) * factor;
  map.back = (pixel) => low + (pixel - first) / factor;
  return map;
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function gridLine(x1, y1, x2, y2, colour = "var(--grid)") {
  return shape("line", { x1, y1, x2, y2, stroke: colour, "stroke-width": 1 });
}

function label(x, y, text, anchor = "middle") {
  return shape("text", { x, y, "text-anchor": anchor }, String(text));
}

// Grid, ticks and names of both axes, for an SVG of this size.
function axes(width, height, x, y, xTicks, yTicks, xLabel, yLabel) {
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, height - MARGIN.bottom];
  const group = shape("g");
  for (const tick of yTicks) group.append(gridLine(left, y(tick), right, y(tick)), label(left - 6, y(tick) + 4, tick, "end"));
  for (const tick of xTicks) group.append(gridLine(x(tick), MARGIN.top, x(tick), bottom), label(x(tick), bottom + 15, tick));
  group.append(gridLine(left, bottom, right, bottom, "var(--axis)"));
  group.append(label((left + right) / 2, height - 6, xLabel), label(2, 11, yLabel, "start"));
  return group;
}

function linePath(points, x, y) {
  return points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
}

function trackerLine(place, path, width = 1.6) {
  const line = styledLine(colourOf(place), data.trackers[place].dash, path, width);
  line.setAttribute("data-tracker", place);
  return line;
}

function styledLine(stroke, dash, path, width) {
  const attributes = { d: path, fill: "none", stroke, "stroke-width": width, "stroke-linejoin": "round" };
  return shape("path", { ...attributes, "stroke-dasharray": dash.join(" ") });
}

// A dot has the tracker's colour and shape.
function dot(place, x, y, r = 3.5) {
  const { marker } = data.trackers[place];
  const attributes = { fill: colourOf(place), stroke: "var(--page)", "stroke-width": 1, "data-dot": place, "data-marker": marker };
  return shape("path", { d: markerPath(marker, x, y, r), ...attributes });
}

// The outline of a marker of palette.py; shapes of the same r look equally large.
function markerPath(marker, x, y, r) {
  const polygon = (...points) => `M${points.map(([a, b]) => `${(x + a * r).toFixed(2)} ${(y + b * r).toFixed(2)}`).join("L")}Z`;
  if (marker === "square") return polygon([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]);
  if (marker === "triangle") return polygon([0, -1.25], [1.15, 0.85], [-1.15, 0.85]);
  if (marker === "inverted") return polygon([0, 1.25], [1.15, -0.85], [-1.15, -0.85]);
  if (marker === "diamond") return polygon([0, -1.35], [1.15, 0], [0, 1.35], [-1.15, 0]);
  return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
}

// A box beside the pointer; entries: {place, value, text}, the largest value first.
function showTooltip(box, x, head, entries) {
  hideTooltip(box);
  const sorted = [...entries].sort((a, b) => compareValues(a.value, b.value, true));
  const lines = sorted.map(({ place, text }) =>
    element("div", {}, swatch(place), element("span", {}, data.trackers[place].label), element("b", {}, text)));
  const tooltip = element("div", { class: "tooltip", role: "status" }, element("b", {}, head), ...lines);
  box.append(tooltip);
  const { left, width } = box.getBoundingClientRect();
  const wanted = x > width / 2 ? x - 12 - tooltip.offsetWidth : x + 12;
  const last = document.documentElement.clientWidth - left - tooltip.offsetWidth - 2; // a phone's edge is near
  tooltip.style.left = `${Math.max(2 - left, Math.min(wanted, last))}px`;
}

function hideTooltip(box) {
  box.querySelector(".tooltip")?.remove();
}

// Calls move(x, y) in the chart's pixels while a pointer is over it, and leave() when it goes.
function watchPointer(box, move, leave) {
  const report = (event) => {
    const area = box.getBoundingClientRect();
    move(event.clientX - area.left, event.clientY - area.top);
  };
  box.onpointermove = report;
  box.onpointerdown = report;
  box.onpointerleave = leave;
}

// --- curves ---

function drawCurves() {
  if (!data.plots.length) return;
  section("curves");
  const parent = byId("curves-plots");
  if (!parent.childElementCount) {
    parent.append(...data.plots.map((plot) => element("figure", {}, element("h3", {}, plot.title), element("div", { class: "chart curve" }))));
  }
  [...parent.children].forEach((figure, index) => drawCurve(figure.lastElementChild, view.plots[index]));
}

function drawCurve(box, plot) {
  const width = box.clientWidth;
  const height = Math.round(Math.min(330, Math.max(230, width * 0.62)));
  const longest = Math.max(1e-9, ...plot.curves.flatMap((curve) => curve.x));
  const x = scale(0, plot.xLabel.endsWith("(%)") ? 100 : longest, MARGIN.left, width - MARGIN.right);
  const y = scale(0, 100, height - MARGIN.bottom, MARGIN.top);
  const xTicks = ticks(0, plot.xLabel.endsWith("(%)") ? 100 : longest, width < 420 ? 5 : 10);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": plot.title });
  picture.append(axes(width, height, x, y, xTicks, ticks(0, 100, 5), plot.xLabel, plot.yLabel));
  for (const { metric, at } of plot.marks) {
    picture.append(gridLine(x(at), MARGIN.top, x(at), height - MARGIN.bottom, "var(--axis)"), label(x(at), MARGIN.top - 5, metric));
  }
  for (const place of shownTrackers().reverse()) { // the best one lies on top
    const { x: across, y: up } = plot.curves[place];
    const points = across.map((value, index) => [value, up[index]]).filter(([, value]) => value !== null);
    picture.append(trackerLine(place, linePath(points, x, y), place ? 1.6 : 2.3));
    const point = plot.points[place];
    if (point && point[0] !== null) picture.append(dot(place, x(point[0]), y(point[1]), 4.5));
  }
  const pointer = shape("g");
  picture.append(pointer);
  box.replaceChildren(picture);
  const leave = () => { pointer.replaceChildren(); hideTooltip(box); };
  watchPointer(box, (left) => pointAtCurve(box, plot, pointer, x, y, x.back(left)), leave);
}

function pointAtCurve(box, plot, pointer, x, y, value) {
  const bottom = y(0);
  const found = shownTrackers().map((place) => {
    const { x: across, y: up } = plot.curves[place];
    const index = nearest(across, value);
    return { place, at: across[index], value: up[index] ?? null, text: format(up[index], 1) };
  }).filter((entry) => entry.value !== null);
  if (!found.length) return;
  const at = plot.shared ? found[0].at : Math.min(Math.max(value, 0), 100);
  pointer.replaceChildren(gridLine(x(at), y(100), x(at), bottom, "var(--soft)"));
  pointer.append(...found.map((entry) => dot(entry.place, x(entry.at), y(entry.value))));
  // Where trackers have points of their own, each value names its own.
  const entries = plot.shared ? found : found.map((entry) => ({ ...entry, text: `${entry.text} at ${format(entry.at, 1)}` }));
  showTooltip(box, x(at), `${plot.xLabel}: ${plot.shared ? at : `near ${format(at, 0)}`}`, entries);
}

function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, index) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = index;
  });
  return best;
}

// --- missing pictures ---

// One line per tracker and way of dropping; a dot's own hint names its values.
function drawRobustness() {
  if (!data.robustness.length) return;
  section("robustness");
  const metric = data.metrics[RANKING];
  byId("robustness-words").textContent = `${metric} over the share of frames in which a picture was taken away.`;
  const box = byId("robustness-chart");
  const [width, height] = [Math.min(620, box.clientWidth), 300];
  const most = Math.max(...data.robustness.flatMap((curve) => curve.x));
  const x = scale(0, most, MARGIN.left, width - MARGIN.right);
  const y = scale(0, 100, height - MARGIN.bottom, MARGIN.top);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Missing pictures" });
  picture.append(axes(width, height, x, y, ticks(0, most, 6), ticks(0, 100, 5), "Frames with missing pictures (%)", `${metric} (%)`));
  data.robustness.forEach((curve, place) => {
    const colour = `var(--condition-${place})`;
    const points = curve.x.map((value, index) => [value, view.trackers[curve.runs[index]].scores[RANKING]]).filter(([, score]) => score !== null);
    picture.append(styledLine(colour, curve.dash, linePath(points, x, y), 1.8));
    for (const [rate, score] of points) {
      const hint = shape("title", {}, `${curve.name}: ${format(score)} at ${format(rate, 0)} %`);
      picture.append(shape("path", { d: markerPath(curve.marker, x(rate), y(score), 4.5), fill: colour }, hint));
    }
  });
  box.replaceChildren(picture);
  const entries = data.robustness.map((curve, place) => {
    const mark = swatchOf(`var(--condition-${place})`, curve.dash, shape("path", { d: markerPath(curve.marker, 13, 6, 3.6), fill: `var(--condition-${place})` }));
    return element("span", { class: "tracker", title: curve.name }, mark, element("span", {}, curve.name));
  });
  byId("robustness-legend").replaceChildren(...entries);
}

// --- comparisons ---

function setUpComparisons() {
  if (!data.comparisons.length) return;
  section("comparisons");
  byId("comparisons-words").textContent =
    `${data.metrics[RANKING]}, paired over sequences: both trackers are resampled on the same ones. One dot per sequence; ` +
    "a click on it shows the sequence.";
  pairSelects().forEach((select, index) => {
    select.append(...data.trackers.map(({ name }, place) => element("option", { value: place, title: name }, shorten(name, 60))));
    select.addEventListener("change", () => {
      state.pair[index] = Number(select.value);
      drawPair();
      remember();
    });
  });
}

function pairSelects() {
  return [byId("pair-first"), byId("pair-second")];
}

function drawComparisons() {
  if (!data.comparisons.length) return;
  const rank = new Map(view.ranking.map((place, index) => [place, index]));
  const neighbours = view.comparisons.filter(({ better, worse }) => rank.get(worse) === rank.get(better) + 1);
  const words = view.pending ? "Computing …" : "A single sequence allows no comparison.";
  byId("neighbours").replaceChildren(...(neighbours.length ? neighbours : [{ text: words }]).map(({ text }) => element("li", {}, text)));
  drawPair();
}

function drawPair() {
  pairSelects().forEach((select, index) => { select.value = state.pair[index]; });
  const found = view.comparisons.find(({ better, worse }) => state.pair.includes(better) && state.pair.includes(worse));
  const none = state.pair[0] === state.pair[1] ? "Choose two different trackers." : "";
  byId("pair-sentence").textContent = found ? `${found.text}; 95 % interval ${found.interval.map((end) => format(end)).join(" to ")}` : none;
  drawPairChart();
}

// One dot per sequence. Above the diagonal the second tracker is better.
function drawPairChart() {
  if (!data.comparisons.length) return;
  const box = byId("pair-chart");
  const [first, second] = state.pair;
  const side = Math.min(box.clientWidth, 420);
  const x = scale(0, 100, MARGIN.left, side - MARGIN.right);
  const y = scale(0, 100, side - MARGIN.bottom, MARGIN.top);
  const names = [first, second].map((place) => shorten(data.trackers[place].name, 40));
  const picture = shape("svg", { width: side, height: side, viewBox: `0 0 ${side} ${side}` });
  picture.append(axes(side, side, x, y, ticks(0, 100, 5), ticks(0, 100, 5), `${names[0]} →`, `${names[1]} ↑`));
  picture.append(gridLine(x(0), y(0), x(100), y(100), "var(--axis)"));
  const columns = [first, second].map((place) => view.trackers[place].sequences[RANKING]);
  const points = data.sequences.map((_, index) => (isChosen(index) ? [columns[0][index], columns[1][index]] : [null, null]));
  points.forEach(([a, b], index) => {
    if (a === null || b === null) return;
    const winner = colourOf(a >= b ? first : second);
    picture.append(shape("circle", { cx: x(a), cy: y(b), r: 3, fill: winner, "fill-opacity": 0.55, "data-sequence": index }));
  });
  const pointer = shape("circle", { r: 6, fill: "none", stroke: "var(--ink)", visibility: "hidden" });
  picture.append(pointer);
  box.replaceChildren(picture);
  const find = (left, top) => nearestPoint(points, left, top, x, y);
  const leave = () => { pointer.setAttribute("visibility", "hidden"); hideTooltip(box); };
  watchPointer(box, (left, top) => {
    const index = find(left, top);
    if (index < 0) return leave();
    const [a, b] = points[index];
    fill(pointer, { cx: x(a), cy: y(b), visibility: "visible" }, []);
    const entries = [[first, a], [second, b]].map(([place, value]) => ({ place, value, text: format(value) }));
    showTooltip(box, x(a), data.sequences[index].name, entries);
  }, leave);
  box.onclick = (event) => {
    const area = box.getBoundingClientRect();
    const index = find(event.clientX - area.left, event.clientY - area.top);
    if (index >= 0) showSequence(index);
  };
}

function nearestPoint(points, left, top, x, y) {
  const reach = 14; // pixels
  const distances = points.map(([a, b]) => (a === null || b === null ? Infinity : Math.hypot(x(a) - left, y(b) - top)));
  const best = distances.indexOf(Math.min(...distances));
  return distances[best] <= reach ? best : -1;
}

// Names are cut in the middle, because those of variants differ at the end.
function shorten(text, length) {
  const tail = Math.floor(0.4 * length);
  return text.length > length ? `${text.slice(0, length - 1 - tail)}…${text.slice(-tail)}` : text;
}

// --- tables with a metric to choose ---

function drawMetricSelects() {
  for (const select of document.querySelectorAll("select.metric")) {
    select.append(...data.metrics.map((name, index) => element("option", { value: index }, name)));
    select.addEventListener("change", () => {
      state.metric = Number(select.value);
      drawMetric();
      remember();
    });
  }
}

function drawMetric() {
  document.querySelectorAll("select.metric").forEach((select) => { select.value = state.metric; });
  drawAttributes();
  drawAttributeChart();
  drawSequences();
}

function trackerColumns() {
  return data.trackers.map(({ name, label }, place) => {
    const head = element("span", { class: "head" }, swatch(place));
    return { label: shorten(label, 26), title: name, number: true, ranked: true, head };
  });
}

// intervals: one per value; none if left out.
function scoreCells(values, intervals = []) {
  const marks = marksOf(values);
  return values.map((value, index) => numberCell(value, marks, intervals[index]));
}

function drawAttributes() {
  if (!data.attributes.length) return;
  section("attributes");
  const columns = [{ label: "Attribute" }, { label: "Sequences", number: true }, ...trackerColumns()];
  const rows = view.attributes.map(({ name, count }, index) => [
    { value: name, content: data.subsets ? attributeButton(name, index) : name, text: name },
    { value: count, content: `${count}${fewMark(count)}`, text: String(count) },
    ...scoreCells(
      view.trackers.map((tracker) => tracker.attributes[state.metric][index]),
      view.trackers.map((tracker) => tracker.attributeIntervals[state.metric][index])),
  ]);
  makeTable(byId("attributes-table"), columns, rows, null);
  const few = view.attributes.some(({ count }) => count < data.few) ? `* fewer than ${data.few} sequences: such scores say little. ` : "";
  const choice = data.subsets ? "A click on an attribute shows all scores and curves of its sequences." : "";
  byId("attributes-words").textContent = `Small: 95 % interval over the sequences with the attribute. ${few}${choice}`;
}

function attributeButton(name, index) {
  return element("button", { class: "plain name", "data-attribute": index, onclick: () => chooseAttribute(index) }, name);
}

// One row per attribute, one dot per tracker: who is good at what, and how far apart they are.
function drawAttributeChart() {
  if (!data.attributes.length) return;
  const box = byId("attributes-chart");
  const [width, step] = [box.clientWidth, 25];
  const [left, top] = [Math.min(120, 20 + 8 * Math.max(...data.attributes.map(({ name }) => name.length))), 14];
  const height = top + step * data.attributes.length + MARGIN.bottom;
  const all = view.trackers.flatMap((tracker) => tracker.attributes[state.metric]).filter((value) => value !== null);
  const x = scale(Math.floor(Math.min(...all, 100) / 10) * 10, Math.ceil(Math.max(...all, 0) / 10) * 10, left, width - MARGIN.right);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  const bottom = height - MARGIN.bottom;
  for (const tick of ticks(x.back(left), x.back(width - MARGIN.right), 6)) {
    picture.append(gridLine(x(tick), top, x(tick), bottom), label(x(tick), bottom + 15, tick));
  }
  picture.append(label((left + width) / 2, height - 6, `${data.metrics[state.metric]} (%)`));
  view.attributes.forEach(({ name, count }, row) => {
    const middle = top + step * (row + 0.5);
    picture.append(label(left - 8, middle + 4, `${shorten(name, 14)}${fewMark(count)}`, "end"), gridLine(left, middle, width - MARGIN.right, middle));
    for (const { place, value } of attributeValues(row).reverse()) picture.append(dot(place, x(value), middle, 5));
  });
  box.replaceChildren(picture);
  watchPointer(box, (across, down) => {
    const row = Math.floor((down - top) / step);
    if (!data.attributes[row]) return hideTooltip(box);
    const { name, count } = view.attributes[row];
    showTooltip(box, across, `${name}, ${count} sequence${count === 1 ? "" : "s"}`, attributeValues(row));
    box.querySelector(".tooltip").style.top = `${Math.max(0, down - 30)}px`;
  }, () => hideTooltip(box));
}

function attributeValues(row) {
  const entries = shownTrackers().map((place) => ({ place, value: view.trackers[place].attributes[state.metric][row] }));
  return entries.filter(({ value }) => value !== null).map((entry) => {
    const [low, high] = view.trackers[entry.place].attributeIntervals[state.metric][row];
    return { ...entry, text: low === undefined ? format(entry.value) : `${format(entry.value)} (${format(low, 1)} to ${format(high, 1)})` };
  });
}

let sequenceRows = []; // by sequence

function drawSequences() {
  section("sequences");
  const many = data.trackers.length > 1;
  const columns = [{ label: "Sequence" }, ...(many ? [{ label: "Mean", number: true }] : []), ...trackerColumns()];
  const rows = data.sequences.map(({ name }, index) => {
    const values = view.trackers.map((tracker) => tracker.sequences[state.metric][index]);
    const mean = meanOf(values);
    const content = [...(data.subsets ? [sequenceBox(index)] : []), hasTraces() ? element("button", { class: "plain name" }, name) : name];
    const means = many ? [{ value: mean, content: format(mean), ...copied(mean, []) }] : [];
    return [{ value: name, content, text: name }, ...means, ...scoreCells(values)];
  });
  const box = byId("sequences-table").parentNode;
  const [top, left] = [box.scrollTop, box.scrollLeft];
  const focused = document.activeElement?.dataset?.sequence;
  sequenceRows = makeTable(byId("sequences-table"), columns, rows, 1, false);
  if (hasTraces()) sequenceRows.forEach((row, index) => row.addEventListener("click", () => showSequence(index)));
  filterSequences();
  markSequence();
  [box.scrollTop, box.scrollLeft] = [top, left];
  if (focused !== undefined) box.querySelector(`input[data-sequence="${focused}"]`)?.focus({ preventScroll: true });
}

// Ticked sequences are scored.
function sequenceBox(index) {
  const box = element("input", { type: "checkbox", "data-sequence": index, "aria-label": `score ${data.sequences[index].name}` });
  box.checked = isChosen(index);
  box.addEventListener("click", (event) => event.stopPropagation()); // a click on the row shows the sequence
  box.addEventListener("change", () => {
    const chosen = SEQUENCES.filter((other) => (other === index ? box.checked : isChosen(other)));
    choose(chosen);
  });
  return box;
}

function meanOf(values) {
  const numbers = values.filter((value) => value !== null);
  return numbers.length ? numbers.reduce((sum, value) => sum + value, 0) / numbers.length : null;
}

function filteredSequences() {
  const wanted = byId("filter").value.trim().toLowerCase();
  return SEQUENCES.filter((index) => data.sequences[index].name.toLowerCase().includes(wanted));
}

function filterSequences() {
  const fitting = new Set(filteredSequences());
  sequenceRows.forEach((row, index) => { row.hidden = !fitting.has(index); });
  byId("filter-count").textContent = `${fitting.size} of ${data.sequences.length}`;
  byId("choose-filtered").disabled = !fitting.size;
}

function markSequence() {
  sequenceRows.forEach((row, index) => {
    row.classList.toggle("chosen", index === state.sequence && (hasTraces() || state.pointed));
    row.classList.toggle("out", !isChosen(index));
  });
}

// --- overlap over time ---

function hasTraces() {
  return data.trackers.some((tracker) => tracker.traces.some((text) => text));
}

const decoded = new Map(); // base64 → one byte per frame; of the sequence that is shown

function trace(place) {
  const text = data.trackers[place].traces[state.sequence] || "";
  if (!decoded.has(text)) decoded.set(text, bytesOf(text));
  return decoded.get(text);
}

function overlapAt(place, frame) {
  const value = trace(place)[frame];
  return value === undefined || value === ABSENT ? null : value / 100;
}

// Shows a sequence over time; without traces, its row in the table.
function showSequence(index, frame = null) {
  Object.assign(state, { sequence: index, range: null, frame, pointed: true });
  decoded.clear();
  drawTimeline();
  if (sequenceRows[index].hidden) {
    byId("filter").value = "";
    filterSequences();
  }
  markSequence();
  if (hasTraces()) byId("timeline").scrollIntoView({ block: frame === null ? "nearest" : "start" });
  else sequenceRows[index].scrollIntoView({ block: "center" });
  remember();
}

function setUpTimeline() {
  if (!hasTraces()) return;
  section("timeline");
  const options = data.sequences.map(({ name, frames }, index) => element("option", { value: index }, `${name} (${frames} frames)`));
  byId("sequence").append(...options);
  byId("sequence").addEventListener("change", () => showSequence(Number(byId("sequence").value)));
  byId("previous").addEventListener("click", () => showSequence(state.sequence - 1));
  byId("next").addEventListener("click", () => showSequence(state.sequence + 1));
  byId("whole").addEventListener("click", () => setRange(null));
  byId("timeline-chart").addEventListener("dblclick", () => setRange(null));
  byId("timeline-chart").addEventListener("keydown", stepFrame);
  byId("timeline-words").textContent =
    "Intersection over union with the annotation, in steps of 0.01, frames counted from 0, sequences with the worst first. " +
    "Grey: no target, or the annotation is no box. Drag to zoom in; arrow keys step through frames. " +
    "Where there are more frames than pixels, the line spans the lowest and the highest value at each pixel.";
}

function setRange(range) {
  state.range = range;
  state.frame = null;
  drawTimeline();
  remember();
}

function stepFrame(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const [first, last] = frameRange();
  const frame = state.frame === null ? first : state.frame + step;
  state.frame = Math.min(last, Math.max(first, frame));
  drawTimeline();
  remember();
}

function frameRange() {
  return state.range || [0, Math.max(0, data.sequences[state.sequence].frames - 1)];
}

function drawTimeline() {
  if (!hasTraces()) return;
  const box = byId("timeline-chart");
  byId("sequence").value = state.sequence;
  byId("previous").disabled = state.sequence === 0;
  byId("next").disabled = state.sequence === data.sequences.length - 1;
  byId("whole").hidden = !state.range;
  const [width, height] = [box.clientWidth, 280];
  const [first, last] = frameRange();
  const x = scale(first, Math.max(last, first + 1), MARGIN.left, width - MARGIN.right);
  const y = scale(0, 1, height - MARGIN.bottom, MARGIN.top);
  const overlay = shape("svg", { class: "overlay", width, height, viewBox: `0 0 ${width} ${height}` });
  const pointer = shape("g");
  const xTicks = ticks(first, last, width < 500 ? 6 : 10).filter(Number.isInteger);
  const frame = shape("svg", { class: "overlay", width, height, viewBox: `0 0 ${width} ${height}` });
  frame.append(axes(width, height, x, y, xTicks, ticks(0, 1, 5), "Frame", "IoU"));
  overlay.append(pointer);
  box.replaceChildren(frame, drawTraces(width, height, x, y, first, last), overlay);
  watchTimeline(box, pointer, x, y);
  if (state.frame !== null) pointAtFrame(box, pointer, x, y, state.frame);
}

// Lines are drawn on a canvas: a sequence may have ten thousand frames, and twenty trackers.
function drawTraces(width, height, x, y, first, last) {
  const density = window.devicePixelRatio || 1;
  const canvas = element("canvas", { width: Math.round(width * density), height: Math.round(height * density) });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px`, position: "relative" });
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  pen.fillStyle = "rgb(90 100 110 / 16%)";
  for (const [from, to] of absentRuns(first, last)) {
    const [left, right] = [Math.max(x(from - 0.5), MARGIN.left), Math.min(x(to + 0.5), width - MARGIN.right)];
    pen.fillRect(left, MARGIN.top, Math.max(1, right - left), y(0) - MARGIN.top);
  }
  pen.lineJoin = "round";
  for (const place of shownTrackers().reverse()) {
    pen.strokeStyle = isDark() ? data.trackers[place].dark : data.trackers[place].colour;
    pen.setLineDash(data.trackers[place].dash);
    pen.lineWidth = 1.5;
    pen.beginPath();
    const columns = Math.round(x(last) - x(first));
    if (last - first > 2 * columns) drawEnvelope(pen, trace(place), x, y, first, last, columns);
    else drawEveryFrame(pen, trace(place), x, y, first, last);
    pen.stroke();
  }
  return canvas;
}

function drawEveryFrame(pen, values, x, y, first, last) {
  let down = false;
  for (let frame = first; frame <= last; frame += 1) {
    const value = values[frame];
    if (value === undefined || value === ABSENT) {
      down = false;
    } else if (down) {
      pen.lineTo(x(frame), y(value / 100));
    } else {
      pen.moveTo(x(frame), y(value / 100));
      pen.lineTo(x(frame) + 0.5, y(value / 100)); // so that a single frame between gaps shows
      down = true;
    }
  }
}

function drawEnvelope(pen, values, x, y, first, last, columns) {
  let down = false;
  const step = (last - first + 1) / columns;
  for (let column = 0; column < columns; column += 1) {
    let [low, high] = [Infinity, -Infinity];
    const end = Math.min(first + Math.ceil((column + 1) * step), values.length);
    for (let frame = first + Math.floor(column * step); frame < end; frame += 1) {
      if (values[frame] === ABSENT) continue;
      low = Math.min(low, values[frame]);
      high = Math.max(high, values[frame]);
    }
    const left = x(first) + column;
    if (low === Infinity) {
      down = false;
      continue;
    }
    if (down) pen.lineTo(left, y(high / 100));
    else pen.moveTo(left, y(high / 100));
    pen.lineTo(left, y(low / 100) + 0.5);
    down = true;
  }
}

// [first, last] frames of each stretch on which no tracker has an overlap.
function absentRuns(first, last) {
  const traces = TRACKERS.map(trace).filter((values) => values.length);
  const runs = [];
  for (let frame = first; frame <= last; frame += 1) {
    if (!traces.every((values) => values[frame] === undefined || values[frame] === ABSENT)) continue;
    const previous = runs[runs.length - 1];
    if (previous && previous[1] === frame - 1) previous[1] = frame;
    else runs.push([frame, frame]);
  }
  return runs;
}

function watchTimeline(box, pointer, x, y) {
  const [first, last] = frameRange();
  const frameAt = (left) => Math.min(last, Math.max(first, Math.round(x.back(left))));
  let dragged = null; // the frame where a drag began
  const selection = shape("rect", { y: MARGIN.top, height: y(0) - MARGIN.top, fill: "var(--link)", "fill-opacity": 0.15 });
  watchPointer(box, (left) => {
    const frame = frameAt(left);
    pointAtFrame(box, pointer, x, y, frame);
    if (dragged === null) return;
    fill(selection, { x: Math.min(x(dragged), x(frame)), width: Math.abs(x(frame) - x(dragged)) }, []);
    pointer.append(selection);
  }, () => {
    dragged = null;
    // The frame that was jumped to or stepped to stays marked.
    if (state.frame !== null) return pointAtFrame(box, pointer, x, y, state.frame);
    pointer.replaceChildren();
    hideTooltip(box);
  });
  const left = (event) => event.clientX - box.getBoundingClientRect().left;
  box.onmousedown = (event) => { dragged = frameAt(left(event)); };
  box.onmouseup = (event) => {
    const ends = [dragged, frameAt(left(event))].sort((a, b) => a - b);
    const wide = dragged !== null && ends[1] - ends[0] >= 5;
    dragged = null;
    if (wide) setRange(ends);
  };
}

function pointAtFrame(box, pointer, x, y, frame) {
  pointer.replaceChildren(gridLine(x(frame), y(1), x(frame), y(0), "var(--soft)"));
  const entries = shownTrackers().map((place) => {
    const value = overlapAt(place, frame);
    return { place, value, text: format(value) };
  });
  const seen = entries.filter(({ value }) => value !== null);
  pointer.append(...seen.map(({ place, value }) => dot(place, x(frame), y(value))));
  const absent = TRACKERS.every((place) => overlapAt(place, frame) === null);
  showTooltip(box, x(frame), `Frame ${frame}${absent ? ": no target" : ""}`, absent ? [] : entries);
}

// --- failures: where, how long, recovered ---

const LOST = 5; // largest overlap of a lost target in a trace, per cent, as in moments.py
const PATIENCE = 10; // frames in a row with a target that make a failure, as in the VOT challenge
const TENTHS = 10; // parts of a sequence in the chart
const LONGEST = 20; // failures in the list

const failuresOf = new Map(); // sequence → for each tracker {failures, lost: lost and all frames with a target, per tenth}

// failures: {start, frames: how many with a target, end: first frame on which the target is overlapped again, or null}.
// Frames without a target neither count nor end a failure.
function findFailures(values) {
  const failures = [];
  const lost = Array.from({ length: TENTHS }, () => [0, 0]);
  const tenth = (frame) => lost[Math.floor((TENTHS * frame) / values.length)];
  let run = [];
  const close = (end) => {
    if (run.length >= PATIENCE) {
      failures.push({ start: run[0], frames: run.length, end });
      for (const frame of run) tenth(frame)[0] += 1;
    }
    run = [];
  };
  values.forEach((value, frame) => {
    if (value === ABSENT) return;
    tenth(frame)[1] += 1;
    if (value <= LOST) run.push(frame);
    else close(frame);
  });
  close(null);
  return { failures, lost, frames: values.length };
}

function failures(sequence) {
  if (!failuresOf.has(sequence)) {
    failuresOf.set(sequence, data.trackers.map((tracker) => findFailures(bytesOf(tracker.traces[sequence] || ""))));
  }
  return failuresOf.get(sequence);
}

function drawFailures() {
  if (!hasTraces()) return;
  section("failures");
  byId("failures-words").textContent =
    `A failure: at least ${PATIENCE} frames in a row with an IoU of at most 0.05. Frames without a target neither count nor end it. ` +
    "Lost: frames in failures, of all frames with a target. Recovered: the box overlaps the target again before the end. First at: where in the sequence the first failure begins.";
  const labels = ["Failures", "Sequences with one", "Lost (%)", "Median length (frames)", "Recovered (%)", "First at (median, %)"];
  const columns = [{ label: "Tracker" }, ...labels.map((label) => ({ label, number: true }))];
  const rows = view.ranking.map((place) => [nameCell(place), ...failureNumbers(place).map(([value, digits]) =>
    ({ value, content: format(value, digits), text: value === null ? "-" : format(value, digits) }))]);
  makeTable(byId("failures-table"), columns, rows, 3, false);
  drawLongestFailures();
}

function failureNumbers(place) {
  const each = view.chosen.map((sequence) => failures(sequence)[place]);
  const all = each.flatMap((entry) => entry.failures);
  const failed = each.filter((entry) => entry.failures.length);
  const firsts = failed.map((entry) => (100 * entry.failures[0].start) / entry.frames);
  return [
    [all.length, 0],
    [failed.length, 0],
    [share(each.flatMap((entry) => entry.lost)), 2],
    [median(all.map((failure) => failure.frames)), 0],
    [share(all.map((failure) => [failure.end === null ? 0 : 1, 1])), 1],
    [median(firsts), 0],
  ];
}

// Of pairs (part, whole), in per cent.
function share(pairs) {
  const [part, whole] = [0, 1].map((side) => pairs.reduce((sum, pair) => sum + pair[side], 0));
  return whole ? (100 * part) / whole : null;
}

function median(values) {
  const rising = [...values].sort((a, b) => a - b);
  if (!rising.length) return null;
  const middle = (rising.length - 1) / 2;
  return (rising[Math.floor(middle)] + rising[Math.ceil(middle)]) / 2;
}

// Where in a sequence trackers are lost: the share of frames in failures, by tenths of the sequences.
function drawFailureChart() {
  if (!hasTraces()) return;
  const box = byId("failures-chart");
  const [width, height] = [Math.min(620, box.clientWidth), 260];
  const curves = shownTrackers().map((place) => {
    const each = view.chosen.map((sequence) => failures(sequence)[place].lost);
    const points = Array.from({ length: TENTHS }, (_, part) => [(100 * (part + 0.5)) / TENTHS, share(each.map((lost) => lost[part]))]);
    return { place, points: points.filter(([, value]) => value !== null) };
  });
  const most = Math.max(10, ...curves.flatMap(({ points }) => points.map(([, value]) => value)));
  const x = scale(0, 100, MARGIN.left, width - MARGIN.right);
  const y = scale(0, most, height - MARGIN.bottom, MARGIN.top);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Where trackers are lost" });
  picture.append(axes(width, height, x, y, ticks(0, 100, 5), ticks(0, most, 5), "Position in the sequence (%)", "Lost (%)"));
  for (const { place, points } of curves.reverse()) {
    picture.append(trackerLine(place, linePath(points, x, y)), ...points.map(([part, value]) => dot(place, x(part), y(value))));
  }
  box.replaceChildren(picture);
  watchPointer(box, (left) => {
    const part = Math.min(TENTHS - 1, Math.max(0, Math.floor((TENTHS * x.back(left)) / 100)));
    const entries = curves.map(({ place, points }) => ({ place, value: points[part]?.[1] ?? null })).filter(({ value }) => value !== null);
    const step = 100 / TENTHS;
    showTooltip(box, left, `${part * step} to ${(part + 1) * step} % of the sequence`, entries.map((entry) => ({ ...entry, text: `${format(entry.value, 1)} %` })));
  }, () => hideTooltip(box));
}

function drawLongestFailures() {
  if (!hasTraces()) return;
  const found = view.chosen.flatMap((sequence) => shownTrackers().flatMap((place) =>
    failures(sequence)[place].failures.map((failure) => ({ ...failure, sequence, place }))));
  found.sort((a, b) => b.frames - a.frames || a.sequence - b.sequence || a.place - b.place);
  const rows = found.slice(0, LONGEST).map(({ sequence, place, start, frames, end }) => [
    sequenceCell(sequence, start),
    nameCell(place),
    { value: start, content: String(start), text: String(start) },
    { value: frames, content: String(frames), text: String(frames) },
    { value: end, content: end === null ? "never" : String(end), text: end === null ? "-" : String(end) },
  ]);
  const columns = [{ label: "Sequence" }, { label: "Tracker" }, ...["From frame", "Frames", "Recovered at"].map((label) => ({ label, number: true }))];
  makeTable(byId("longest-table"), columns, rows, null);
  byId("longest-words").textContent = `The longest of the ticked trackers, ${rows.length} of ${found.length}. A click shows the frame.`;
}

function sequenceCell(sequence, frame) {
  const { name } = data.sequences[sequence];
  const button = element("button", { class: "plain name", title: name, onclick: () => showSequence(sequence, frame) }, name);
  return { value: name, content: button, text: name };
}

// --- moments, notes ---

function drawMoments() {
  if (!data.moments.length) return;
  section("moments");
  byId("thumbnails").replaceChildren(...data.moments.filter(({ sequence }) => isChosen(sequence)).map((moment) => {
    const { name } = data.sequences[moment.sequence];
    const words = `${name}, frame ${moment.frame}, IoU ${format(moment.overlap)}`;
    const tracker = data.trackers[moment.tracker].name;
    const image = element("img", { alt: `${words}: ${tracker}`, width: 480, height: 180 });
    image.src = `data:image/jpeg;base64,${moment.jpeg}`;
    const button = element("button", { class: "plain", onclick: () => showMoment(moment) }, image);
    const caption = element("figcaption", {}, words, element("br"), trackerName(moment.tracker));
    // The boxes in the picture have the colours of the light page.
    return element("figure", { style: `--tracker-${moment.tracker}: ${data.trackers[moment.tracker].colour}` }, button, caption);
  }));
}

function showMoment(moment) {
  state.shown.add(moment.tracker);
  redrawTrackers();
  showSequence(moment.sequence, moment.frame);
}

function drawNotes() {
  section("notes");
  byId("notes-list").append(...data.notes.map((note) => element("li", {}, note)));
  if (!data.missing.length) return;
  byId("missing-title").hidden = false;
  byId("missing-title").textContent = `Left out (${data.missing.length})`;
  byId("missing-list").append(...data.missing.map((text) => element("li", {}, text)));
}

// --- all of it ---

// A shadow at the edge of a table behind which there is more.
function showWhetherMore(box) {
  const more = box.scrollWidth - box.clientWidth - Math.ceil(box.scrollLeft) > 1;
  box.parentNode.classList.toggle("more", more);
}

function setUpScrolling() {
  for (const box of document.querySelectorAll(".scroll")) {
    const frame = element("div", { class: "frame" });
    box.before(frame);
    frame.append(box);
    box.addEventListener("scroll", () => showWhetherMore(box));
  }
}

function drawEverything() {
  drawChoice();
  drawScores();
  drawFailures();
  drawMetric();
  drawComparisons();
  drawMoments();
  byId("protocols-words").hidden = view.whole;
  redrawTrackers();
}

function redrawOnResize() {
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return; // a phone's address bar changes the height alone
    width = window.innerWidth;
    drawCharts();
  });
}

setUpScrolling();
drawHead();
setUpChoice();
drawLegends();
drawMetricSelects();
setUpComparisons();
setUpTimeline();
setUpCopying();
setUpTheme();
readAddress();
setView();
drawProtocols();
drawEverything();
drawNotes();
drawContents();
applyTheme();
document.querySelector(`main > section[id="${CSS.escape(location.hash.slice(1))}"]`)?.scrollIntoView();
byId("filter").addEventListener("input", () => {
  filterSequences();
  remember();
});
window.addEventListener("hashchange", () => {
  readAddress();
  setView();
  drawEverything();
  applyTheme();
});
redrawOnResize();
