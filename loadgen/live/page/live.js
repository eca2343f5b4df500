// The live view of a run. All data is inserted as text, never as HTML.
import { Chart } from "./chart.js";

const INTERVAL_MS = 1000;
const KEPT = 3600;
// Most points that a chart can show; of more, every n-th is drawn.
const DRAWN = 600;
const BLUE = "#2f8fd8";
const GREEN = "#0f9d74";
const ORANGE = "#e08a00";
const RED = "#d1495b";
const GREY = "#8a8f98";

const base = new URL("./", import.meta.url);

export function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  const [value, unit] = Math.abs(ns) < 1e6 ? [ns / 1e3, "µs"] : Math.abs(ns) < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

const count = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const rate = (value) => `${Number(value.toPrecision(3)).toLocaleString("en")}/s`;
const plain = (value) => Number(value.toPrecision(4)).toLocaleString("en");
const share = (value) =>
  value === null || value === undefined ? "–" : `${Number((value * 100).toPrecision(3))} %`;

const statistic = (key, name) => (point) => (point[key] ? point[key][name] : null);
const field = (key) => (point) => point[key];

function charts() {
  return [
    new Chart(
      "Fan-out latency, each second",
      [
        { name: "p50", colour: BLUE, of: statistic("latency_ns", "p50") },
        { name: "p90", colour: GREEN, of: statistic("latency_ns", "p90") },
        { name: "p99", colour: ORANGE, of: statistic("latency_ns", "p99") },
        { name: "max", colour: RED, of: statistic("latency_ns", "max") },
      ],
      { format: duration, log: true, least: 1e6 },
    ),
    new Chart(
      "First and last subscriber, last 10 s",
      [
        { name: "first p50", colour: BLUE, of: statistic("first_10s_ns", "p50") },
        { name: "last p50", colour: ORANGE, of: statistic("last_10s_ns", "p50") },
        { name: "last p99", colour: RED, of: statistic("last_10s_ns", "p99") },
      ],
      { format: duration, log: true, least: 1e6 },
    ),
    new Chart(
      "Deliveries",
      [
        { name: "due", colour: GREY, dash: true, of: field("deliveries_due_per_s") },
        { name: "arrived", colour: BLUE, of: field("deliveries_per_s") },
      ],
      { format: rate },
    ),
    new Chart(
      "Events",
      [
        { name: "due", colour: GREY, dash: true, of: field("events_due_per_s") },
        { name: "sent", colour: ORANGE, of: field("events_sent_per_s") },
        { name: "accepted", colour: GREEN, of: field("events_accepted_per_s") },
      ],
      { format: rate },
    ),
    new Chart(
      "Connections",
      [
        { name: "connected", colour: BLUE, of: field("connected") },
        { name: "subscriptions ready", colour: GREEN, of: field("ready") },
        { name: "lost so far", colour: RED, of: field("lost_connections") },
      ],
      { format: plain },
    ),
    new Chart("Not arrived, of what was expected", [{ name: "3 s after it was due", colour: RED, of: field("loss") }], {
      format: share,
      least: 0.01,
    }),
    new Chart(
      "The generator itself: worst worker, each second",
      [
        { name: "receive queue", colour: BLUE, of: field("queue_max_ns") },
        { name: "schedule lateness", colour: ORANGE, of: field("late_max_ns") },
        { name: "loop lag", colour: GREY, of: field("lag_max_ns") },
      ],
      { format: duration, log: true, least: 1e6 },
    ),
    new Chart("CPU of the busiest worker", [{ name: "of what it is allowed", colour: BLUE, of: field("cpu_max") }], {
      format: share,
      least: 1,
    }),
  ];
}

function made(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function tile(label, value, note, name) {
  const node = made("div", "fan-out-tile");
  node.dataset.name = name;
  node.append(made("span", "", label), made("b", "", value), made("small", "", note));
  return node;
}

function lossNote(so) {
  if (so.expected === null) return "expected number not known";
  if (so.surplus !== null) return `not known yet: ${count(so.surplus)} more arrived than accepted events explain`;
  return so.loss === null ? "not known yet" : "up to 3 s ago";
}

function tiles(data) {
  const { so_far: so } = data;
  const latency = so.latency_ns || {};
  const last = so.last_ns || {};
  const { outcome } = data;
  const ledger = outcome && outcome.ledger;
  const judged = (outcome && outcome.verdict) || data.verdict;
  const left = data.left_s === null ? `${data.elapsed_s.toFixed(0)} s since the start` : `${data.left_s.toFixed(0)} s left`;
  const measured = so.latency_ns ? (outcome ? "measure phase" : "measure phase so far") : "known in the measure phase";
  const verdict = tile("Generator", judged.kind || "not known yet", judged === data.verdict ? "verdict so far" : "final verdict", "verdict");
  verdict.classList.add(`fan-out-${judged.kind || "unknown"}`);
  return [
    tile("Phase", outcome ? "ended" : data.phase, outcome ? `after ${data.elapsed_s.toFixed(0)} s` : left, "phase"),
    verdict,
    tile("Latency p50", duration(latency.p50), measured, "p50"),
    tile("Latency p99", duration(latency.p99), measured, "p99"),
    tile("Latency max", duration(latency.max), measured, "max"),
    tile("Last subscriber p99", duration(last.p99), `of ${count(so.sampled_events)} sampled events`, "last"),
    ledger
      ? tile("Deliveries", count(ledger.delivered), `of ${count(ledger.expected)} expected`, "deliveries")
      : tile("Deliveries", count(so.deliveries), `of ${so.expected === null ? "an unknown number" : count(so.expected)} expected`, "deliveries"),
    ledger
      ? tile("Not arrived", share(ledger.expected ? ledger.lost / ledger.expected : null), `${count(ledger.lost)} lost, by the ledger`, "loss")
      : tile("Not arrived", share(so.loss), lossNote(so), "loss"),
    outcome
      ? tile("Connections lost", count(data.lost_connections), `of ${count(data.websockets)}`, "connected")
      : tile("Connected", count(data.connected), `of ${count(data.websockets)}; ${count(data.lost_connections)} lost`, "connected"),
    outcome
      ? tile("Failed attempts", count(data.failed), "to connect or subscribe", "ready")
      : tile("Ready", count(data.ready), `of ${count(data.subscriptions)} subscriptions`, "ready"),
  ];
}

const VALUES = { DURATION: duration, SHARE: share, COUNT: count, RATE: (value) => (value === null ? "–" : rate(value)) };

function gates(data) {
  const final = Boolean(data.outcome && data.outcome.verdict);
  const known = final ? data.outcome.gates : data.gates;
  if (!known.length) return [];
  const table = made("table", "fan-out-gates");
  const head = table.createTHead().insertRow();
  for (const title of ["Gate", final ? "At the end" : "So far", ""]) head.append(made("th", "", title));
  const body = table.createTBody();
  for (const gate of known) {
    const row = body.insertRow();
    row.append(
      made("td", "", gate.text),
      made("td", "", (VALUES[gate.kind] || count)(gate.value)),
      made(
        "td",
        gate.holds === null ? "fan-out-unknown" : gate.holds ? "fan-out-valid" : "fan-out-invalid",
        gate.holds === null ? (final ? "inconclusive" : "known at the end") : gate.holds ? "holds" : "does not hold",
      ),
    );
  }
  return [table];
}

function list(title, lines) {
  if (!lines.length) return [];
  const node = made("ul");
  for (const line of lines) node.append(made("li", "", line));
  return [made("h3", "", title), node];
}

/** Return the panel with the verdict of a run that is over, or nothing. */
function result(data) {
  if (!data.outcome) {
    if (data.phase !== "finishing") return [];
    return [made("p", "fan-out-result", "The load has ended. The record and the report are being made …")];
  }
  const { outcome } = data;
  const node = made("div", `fan-out-result fan-out-${outcome.kind}`);
  node.append(made("strong", "", outcome.sentence));
  const more = made("span");
  if (outcome.has_report) {
    const link = made("a", "", "Open the report");
    link.href = new URL(`report/${encodeURIComponent(data.run)}`, base);
    link.target = "_blank";
    link.rel = "noopener";
    more.append(link);
  } else {
    more.append("There is no report; this makes one: ", made("code", "", `loadgen report ${outcome.folder}`));
  }
  node.append(more, made("small", "", `Exit code ${outcome.code} · ${outcome.folder}`));
  return [node];
}

/** Return the description of the run that Start begins, as rows of label and text. */
export function description(rows) {
  const node = made("dl", "fan-out-coming");
  for (const [label, text] of rows) node.append(made("dt", "", label), made("dd", "", text));
  return node;
}

/** Show the run in an element and keep it up to date; return a function that stops the updates. */
export function mount(element) {
  const state = { run: null, points: [], ended: false, timer: 0, shown: "" };
  const heading = made("p", "fan-out-heading", "Waiting for a run …");
  const end = made("div", "fan-out-end");
  const numbers = made("div", "fan-out-tiles");
  const all = charts();
  const pictures = made("div", "fan-out-charts");
  pictures.append(...all.map((chart) => chart.node));
  const rest = made("div", "fan-out-rest");
  element.classList.add("fan-out");
  element.append(heading, end, numbers, pictures, rest);

  function show(data) {
    if (data.run === null) {
      heading.textContent = data.coming ? "No run has begun. This one begins when you press Start:" : "No run has begun.";
      end.replaceChildren(...(data.coming ? [description(data.coming)] : []));
      pictures.hidden = true;
      return;
    }
    pictures.hidden = false;
    if (data.run !== state.run) state.points = [];
    state.run = data.run;
    const seen = state.points.length ? state.points[state.points.length - 1].number : -1;
    state.points.push(...data.points.filter((point) => point.number > seen));
    state.points.splice(0, Math.max(0, state.points.length - KEPT));
    const step = Math.ceil(state.points.length / DRAWN);
    const drawn = state.points.filter((point, place) => (state.points.length - 1 - place) % step === 0);
    heading.textContent = `${data.scenario} → ${data.target} · run ${data.run}`;
    const shown = JSON.stringify([data.run, data.outcome, data.phase === "finishing"]);
    // Replace the panel only when it changes: a link that is being pressed must stay.
    if (shown !== state.shown) end.replaceChildren(...result(data));
    state.shown = shown;
    numbers.replaceChildren(...tiles(data));
    for (const chart of all) chart.draw(drawn, Boolean(data.outcome));
    rest.replaceChildren(
      ...list("Why", ((data.outcome && data.outcome.verdict) || data.verdict).reasons),
      ...gates(data),
      ...list("What clients complain of", data.complaints.map(([text, times]) => `${times} × ${text}`)),
    );
    element.dataset.points = state.points.length;
    element.dataset.phase = data.outcome ? "ended" : data.phase;
  }

  async function refresh() {
    const newest = state.points.length ? state.points[state.points.length - 1].number : -1;
    const url = new URL("data", base);
    url.search = new URLSearchParams({ run: state.run || "", after: newest });
    try {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const data = await answer.json();
      if (!state.ended) {
        element.classList.remove("fan-out-away");
        show(data);
      }
    } catch {
      // Keep the last data, marked as outdated.
      element.classList.add("fan-out-away");
      if (state.run === null) heading.textContent = "Locust does not answer.";
    }
    if (!state.ended) state.timer = setTimeout(refresh, INTERVAL_MS);
  }

  refresh();
  return () => {
    state.ended = true;
    clearTimeout(state.timer);
  };
}
