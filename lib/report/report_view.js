// What the page shows: which sequences are scored, the state in the address, the theme, and tables as text.

// --- which sequences are scored ---

// What is drawn. {chosen: places of sequences in the order of the annotations, whole: whether it is all of them,
// trackers, plots, attributes, comparisons: as in data, ranking: places of trackers, best first,
// pending: whether intervals are still computed}
let view = null;
let combiners = null; // of each tracker; made when they are first needed
let bootstrap = null;

function inOrder(sequences) {
  const places = data.subsets ? data.subsets.places : SEQUENCES;
  return [...sequences].sort((a, b) => places[a] - places[b]);
}

function wholeView() {
  const { trackers, plots, attributes, comparisons } = data;
  return { chosen: inOrder(SEQUENCES), whole: true, trackers, plots, attributes, comparisons, ranking: TRACKERS, pending: false };
}

// Scores and curves of a choice. Intervals and comparisons are empty until `resample` has run.
function choiceView(chosen) {
  combiners = combiners || data.subsets.trackers.map((entry) => KINDS[data.subsets.kind](data.subsets, entry));
  bootstrap = bootstrap || makeBootstrap(data.subsets.bootstrap);
  const groups = data.subsets.flags.map((flags) => chosen.filter((sequence) => flags.includes(sequence)));
  const trackers = TRACKERS.map((place) => {
    const inGroups = groups.map((group) => scoresOf(place, group));
    return {
      ...data.trackers[place],
      scores: scoresOf(place, chosen),
      fps: framesPerSecond(place, chosen),
      intervals: data.metrics.map(() => []),
      sequences: (chosen.length && combiners[place].perSequence(chosen)) || data.trackers[place].sequences,
      attributes: data.metrics.map((_, metric) => inGroups.map((scores) => scores[metric])),
      attributeIntervals: data.metrics.map(() => groups.map(() => [])),
    };
  });
  const attributes = data.attributes.map((attribute, index) => ({ ...attribute, count: groups[index].length }));
  const plots = data.plots.map((plot) => choicePlot(plot, chosen));
  const score = (place) => trackers[place].scores[RANKING];
  const byName = (a, b) => (data.trackers[a].name < data.trackers[b].name ? -1 : 1);
  const ranking = [...TRACKERS].sort((a, b) => score(b) - score(a) || byName(a, b));
  return { chosen, groups, whole: false, trackers, plots, attributes, comparisons: [], ranking, pending: chosen.length > 1 };
}

// A score without a counted sequence is 0, as in the toolkits.
function scoresOf(place, chosen) {
  if (!chosen.length) return data.metrics.map(() => null);
  return combiners[place].combine(chosen, ones(chosen.length), 1).map(([score]) => score || 0);
}

function framesPerSecond(place, chosen) {
  const [frames, seconds] = [0, 1].map((part) => chosen.reduce((sum, sequence) => sum + data.subsets.times[place][sequence][part], 0));
  return seconds > 0 ? frames / seconds : null;
}

function choicePlot(plot, chosen) {
  const curves = chosen.length ? TRACKERS.map((place) => combiners[place].curve(chosen, plot.metric)) : TRACKERS.map(() => ({ x: [], y: [], point: null }));
  return { ...plot, curves, points: plot.points.length ? curves.map((curve) => curve.point || [null, null]) : [] };
}

// Steps that fill in the intervals and comparisons of a choice; after each, the page may answer the reader.
function* resample(of) {
  const samples = [];
  const weights = bootstrap(of.chosen.length);
  const rows = data.subsets.bootstrap.resamples;
  for (const place of TRACKERS) {
    const resampled = combiners[place].combine(of.chosen, weights, rows);
    of.trackers[place].intervals = resampled.map(interval);
    samples[place] = resampled[RANKING];
    yield;
  }
  for (const [rank, better] of of.ranking.entries()) {
    of.comparisons.push(...of.ranking.slice(rank + 1).map((worse) => comparison(of, better, worse, samples)));
    yield;
  }
  of.pending = false;
  drawScores();
  drawComparisons();
  for (const [index, group] of of.groups.entries()) {
    for (const place of group.length > 1 ? TRACKERS : []) {
      const resampled = combiners[place].combine(group, bootstrap(group.length), rows);
      resampled.forEach((values, metric) => { of.trackers[place].attributeIntervals[metric][index] = interval(values); });
      yield;
    }
  }
  drawAttributes();
  drawAttributeChart();
}

function comparison(of, better, worse, samples) {
  const [first, second] = [better, worse].map((place) => of.trackers[place].scores[RANKING]);
  const found = compareSamples(first, second, samples[better], samples[worse]);
  const verdict = found.low > 0 ? "is better than" : "is not shown to differ from";
  const p = found.p < 0.001 ? "p < 0.001" : `p = ${fixed(found.p, 3)}`;
  const sign = found.difference < 0 ? "" : "+";
  const numbers = `${sign}${fixed(found.difference, 2)} ± ${fixed((found.high - found.low) / 2, 2)} (${p})`;
  const text = `${data.trackers[better].name} ${verdict} ${data.trackers[worse].name}: ${numbers}`;
  return { better, worse, text, interval: [found.low, found.high] };
}

// Runs the steps in slices of 30 ms, as long as they are for what is shown.
function runSteps(steps, of) {
  const until = performance.now() + 30;
  while (view === of && !steps.next().done) {
    if (performance.now() > until) return setTimeout(() => runSteps(steps, of), 0);
  }
}

// sequences: places; null: all. name: of the attribute they have in common, or null.
function choose(sequences, name = null) {
  const all = sequences === null || !data.subsets || sequences.length === SEQUENCES.length;
  state.attribute = all ? null : name;
  state.chosen = all ? null : new Set(sequences);
  setView();
  drawEverything();
  remember();
}

function setView() {
  view = state.chosen ? choiceView(inOrder(state.chosen)) : wholeView();
  const current = view;
  if (view.pending) setTimeout(() => runSteps(resample(current), current), 0);
}

function chooseAttribute(index) {
  choose(data.subsets.flags[index], data.attributes[index].name);
}

function isChosen(sequence) {
  return !state.chosen || state.chosen.has(sequence);
}

function setUpChoice() {
  if (!data.subsets) return;
  byId("choice").hidden = false;
  const named = data.attributes.map(({ name, count }, index) => element("option", { value: index }, `${name} (${count}${fewMark(count)})`));
  byId("choice-select").append(
    element("option", { value: "all" }, `all ${data.sequences.length} sequences`), ...named,
    element("option", { value: "own", hidden: "" }, "sequences ticked below"));
  byId("choice-select").addEventListener("change", ({ target }) => {
    if (target.value === "all") choose(null);
    else chooseAttribute(Number(target.value));
  });
  byId("choice-all").addEventListener("click", () => choose(null));
  byId("choose-filtered").hidden = false;
  byId("choose-filtered").addEventListener("click", () => choose(filteredSequences()));
}

function drawChoice() {
  if (!data.subsets) return;
  const index = data.attributes.findIndex(({ name }) => name === state.attribute);
  byId("choice-select").value = view.whole ? "all" : index < 0 ? "own" : index;
  byId("choice-all").hidden = view.whole;
  const part = `${view.chosen.length} of ${data.sequences.length} sequences`;
  const few = view.chosen.length < data.few ? `, fewer than ${data.few}` : "";
  byId("choice-words").textContent = view.whole ? "" : `${part}${few}: scores, intervals, curves and failures are those of this choice.`;
  byId("choice").classList.toggle("part", !view.whole);
}

function fewMark(count) {
  return count < data.few ? "*" : "";
}

// --- the state in the address: what a reader has changed, so that a view can be sent ---

let timer = 0;
let remembered = ""; // what the address says

function remember() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (address() === remembered) return;
    remembered = address();
    history.replaceState(null, "", `#${remembered}`);
  }, 150); // browsers allow few changes
}

function address() {
  const entries = {
    shown: sameSet(state.shown, TRACKERS.slice(0, SHOWN_AT_FIRST)) ? null : mask([...state.shown]),
    attribute: state.attribute,
    sequences: state.chosen && !state.attribute ? mask([...state.chosen].map((s) => data.subsets.places[s])) : null,
    metric: state.metric === RANKING ? null : data.metrics[state.metric],
    pair: state.pair.join() === "0,1" ? null : state.pair.join(),
    sequence: state.sequence ? data.sequences[state.sequence].name : null,
    frames: state.range && state.range.join(),
    frame: state.frame,
    filter: byId("filter").value.trim() || null,
    theme: state.theme,
  };
  return new URLSearchParams(Object.entries(entries).filter(([, value]) => value !== null)).toString();
}

// Takes over what the address says; what it does not say, or says wrongly, is as at first.
function readAddress() {
  const entries = new URLSearchParams(location.hash.slice(1));
  const shown = unmask(entries.get("shown"), TRACKERS.length);
  state.shown = new Set(shown || TRACKERS.slice(0, SHOWN_AT_FIRST));
  state.metric = indexOr(data.metrics.indexOf(entries.get("metric")), RANKING);
  const pair = (entries.get("pair") || "").split(",").map(Number);
  state.pair = pair.length === 2 && pair.every((place) => TRACKERS.includes(place)) ? pair : [0, Math.min(1, RANKS)];
  state.sequence = indexOr(data.sequences.findIndex(({ name }) => name === entries.get("sequence")), 0);
  const last = data.sequences[state.sequence].frames - 1;
  const inside = (text) => (/^\d+$/.test(text) && Number(text) <= last ? Number(text) : null);
  const range = (entries.get("frames") || "").split(",").map(inside);
  state.range = range.length === 2 && range[0] !== null && range[1] > range[0] ? range : null;
  state.frame = inside(entries.get("frame"));
  byId("filter").value = entries.get("filter") || "";
  state.theme = ["dark", "light"].includes(entries.get("theme")) ? entries.get("theme") : null;
  readChoice(entries);
  remembered = address();
}

function readChoice(entries) {
  Object.assign(state, { attribute: null, chosen: null });
  if (!data.subsets) return;
  const index = data.attributes.findIndex(({ name }) => name === entries.get("attribute"));
  const places = unmask(entries.get("sequences"), SEQUENCES.length);
  if (index >= 0) Object.assign(state, { attribute: data.attributes[index].name, chosen: new Set(data.subsets.flags[index]) });
  else if (places) state.chosen = new Set(SEQUENCES.filter((sequence) => places.includes(data.subsets.places[sequence])));
  if (state.chosen && state.chosen.size === SEQUENCES.length) Object.assign(state, { attribute: null, chosen: null });
}

function indexOr(index, other) {
  return index < 0 ? other : index;
}

function sameSet(set, values) {
  return set.size === values.length && values.every((value) => set.has(value));
}

// Numbers from 0 as the bits of a hexadecimal number, and back; null if it is none or too large.
function mask(numbers) {
  return numbers.reduce((bits, number) => bits | (1n << BigInt(number)), 0n).toString(16);
}

function unmask(text, count) {
  if (!/^[0-9a-f]+$/.test(text || "") || text.length > count / 4 + 1) return null;
  const bits = BigInt(`0x${text}`);
  if (bits >> BigInt(count)) return null;
  return Array.from({ length: count }, (_, number) => number).filter((number) => (bits >> BigInt(number)) & 1n);
}

// --- light and dark: colours are variables, except on the canvas ---

const DARK = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function applyTheme(theme = state.theme || (DARK.matches ? "dark" : "light")) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = isDark() ? "light page" : "dark page";
  const entries = [...data.trackers.map((style, place) => [`--tracker-${place}`, style]),
    ...data.robustness.map((style, place) => [`--condition-${place}`, style])];
  for (const [name, style] of entries) document.documentElement.style.setProperty(name, isDark() ? style.dark : style.colour);
  drawTimeline();
}

function setUpTheme() {
  byId("theme").addEventListener("click", () => {
    state.theme = isDark() ? "light" : "dark";
    applyTheme();
    remember();
  });
  DARK.addEventListener("change", () => applyTheme());
  window.addEventListener("beforeprint", () => applyTheme("light"));
  window.addEventListener("afterprint", () => applyTheme());
}

// --- tables as text, in the order in which they are sorted; CSV and Markdown as the report's files have them ---

const FORMATS = { LaTeX: latexOf, CSV: csvOf, Markdown: markdownOf };

function setUpCopying() {
  for (const bar of document.querySelectorAll(".copy")) {
    const buttons = Object.entries(FORMATS).map(([name, write]) => {
      const button = element("button", { onclick: () => copy(write(tables.get(bar.dataset.table)), button) }, name);
      return button;
    });
    bar.append("Copy as", ...buttons);
  }
  byId("link").addEventListener("click", ({ target }) => copy(`${location.href.split("#")[0]}#${address()}`, target));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // an old browser, or a page without permission
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
}

function copyBySelection(text) {
  const area = element("textarea", { readonly: "" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// {header, body: cells of {text, half}, ranked: whether each column has a best}
function contents({ columns, entries }) {
  return {
    header: columns.map((column) => column.title || column.label),
    body: entries.map(({ cells }) => cells.map(({ text, half }) => ({ text, half: half || "" }))),
    ranked: columns.map((column) => Boolean(column.ranked)),
  };
}

function latexOf(table) {
  const { header, body, ranked } = contents(table);
  const marks = ranked.map((has, column) => (has ? latexMarks(body.map((row) => row[column].text)) : new Map()));
  const lines = body.map((row) => row.map(({ text, half }, column) => {
    const mark = marks[column].get(text);
    return (mark ? `\\${mark}{${text}}` : escapeLatex(text)) + (half ? ` {\\scriptsize $\\pm$ ${half}}` : "");
  }));
  const rows = [header.map(escapeLatex), ...lines].map((cells) => `${cells.join(" & ")} \\\\`);
  rows.splice(1, 0, "\\midrule");
  return [`\\begin{tabular}{l${"r".repeat(header.length - 1)}}`, "\\toprule", ...rows, "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function latexMarks(texts) {
  const falling = [...new Set(texts.filter((text) => text !== "-"))].sort((a, b) => Number(b) - Number(a));
  const marks = texts.length > 2 ? ["textbf", "underline"] : ["textbf"];
  return new Map(falling.slice(0, marks.length).map((text, place) => [text, marks[place]]));
}

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" }; // others: with a backslash

function escapeLatex(text) {
  return text.replace(/[&%$#_{}\\~^]/g, (character) => LATEX[character] || `\\${character}`);
}

function csvOf(table) {
  const { header, body } = contents(table);
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [header, ...body.map((row) => row.map(({ text }) => text))].map((row) => `${row.map(quote).join(",")}\n`).join("");
}

function markdownOf(table) {
  const { header, body } = contents(table);
  const rows = [header, ...body.map((row) => row.map(({ text }) => text))].map((row) => row.map((text) => text.replaceAll("|", "\\|")));
  const widths = header.map((_, column) => Math.max(3, ...rows.map((row) => row[column].length)));
  rows.splice(1, 0, widths.map((width, column) => (column ? `${"-".repeat(width - 1)}:` : "-".repeat(width))));
  const pad = (text, column) => (column ? text.padStart(widths[column]) : text.padEnd(widths[column]));
  return rows.map((row) => `| ${row.map(pad).join(" | ")} |\n`).join("");
}
