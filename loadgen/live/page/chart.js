// A line chart over time in SVG, drawn at the width that it has. A null value is unknown and leaves a gap in the line.

const NS = "http://www.w3.org/2000/svg";
// Until the page has told the width.
const WIDTH = 560;
const HEIGHT = 190;
const EDGE = { left: 62, right: 20, top: 10, bottom: 26 };

function svg(name, attributes, parent) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function niceStep(span, most) {
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

/** Return at most about `most` ticks, at round values from `low` to `high`. */
export function linearTicks(low, high, most) {
  const step = niceStep(high - low || 1, most);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high * (1 + 1e-9); at += 1) ticks.push(at * step);
  return ticks;
}

/** Return ticks at 1, 2 and 5 times each power of ten, or only at powers of ten if there would be too many. */
export function logTicks(low, high) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) all.push(factor * 10 ** power);
  }
  const inside = all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > 7 ? inside.filter((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6)) : inside;
}

/** Return the SVG path of a series, interrupted at unknown points. */
export function path(points, x, y) {
  let drawn = "";
  let pen = false;
  points.forEach(([at, value], index) => {
    if (value === null) {
      pen = false;
      return;
    }
    const alone = !pen && (index + 1 === points.length || points[index + 1][1] === null);
    drawn += `${pen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    // A single point between unknown ones: with round caps a line of zero length is a dot.
    if (alone) drawn += "h0";
    pen = true;
  });
  return drawn;
}

export class Chart {
  /** `series`: [{name, colour, dash, of: point => number or null}]; `format` writes a value with its unit. */
  constructor(title, series, { format, log = false, least = 1 }) {
    this.series = series;
    this.format = format;
    this.log = log;
    this.least = least;
    this.node = document.createElement("figure");
    this.node.className = "fan-out-chart";
    this.node.dataset.title = title;
    const caption = document.createElement("figcaption");
    const name = document.createElement("strong");
    name.textContent = title;
    caption.append(name);
    this.values = series.map((one) => {
      const entry = document.createElement("span");
      const mark = document.createElement("i");
      mark.style.background = one.colour;
      const value = document.createElement("b");
      entry.append(mark, `${one.name} `, value);
      caption.append(entry);
      return value;
    });
    this.width = WIDTH;
    this.points = [];
    this.over = false;
    this.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    // Scaling the picture would scale its text too.
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width < 100 || width === this.width) return;
      this.width = width;
      this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      this.draw(this.points);
    }).observe(this.svg);
    this.svg.setAttribute("aria-label", title);
    this.node.append(caption, this.svg);
    this.hover = null;
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.hover = ((event.clientX - box.left) / box.width) * this.width;
      this.draw(this.points);
    });
    this.svg.addEventListener("pointerleave", () => {
      this.hover = null;
      this.draw(this.points);
    });
  }

  /** Draw the points; `over`: no more points will come. */
  draw(points, over = this.over) {
    this.points = points;
    this.over = over;
    this.svg.replaceChildren();
    const lines = this.series.map((one) => points.map((point) => [point.at_s, one.of(point)]));
    const known = lines.flat().map(([, value]) => value).filter((value) => value !== null && (!this.log || value > 0));
    const first = points.length ? points[0].at_s : 0;
    const last = Math.max(points.length ? points[points.length - 1].at_s : 0, first + 10);
    const [low, high] = this.range(known);
    const x = (at) => EDGE.left + ((at - first) / (last - first)) * (this.width - EDGE.left - EDGE.right);
    const scale = this.log ? (value) => Math.log(Math.max(value, low)) : (value) => value;
    const bottom = HEIGHT - EDGE.bottom;
    const y = (value) => bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (bottom - EDGE.top);
    for (const value of this.log ? logTicks(low, high) : linearTicks(low, high, 5)) {
      svg("line", { x1: EDGE.left, x2: this.width - EDGE.right, y1: y(value), y2: y(value), class: "grid" }, this.svg);
      svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, this.svg).textContent = this.format(value);
    }
    for (const at of linearTicks(first, last, Math.max(2, Math.min(8, this.width / 90)))) {
      svg("text", { x: x(at), y: HEIGHT - 8, "text-anchor": "middle" }, this.svg).textContent = `${at} s`;
    }
    lines.forEach((line, place) => {
      const { colour, dash } = this.series[place];
      const attributes = { d: path(line, x, y), stroke: colour, class: "line" };
      if (dash) attributes["stroke-dasharray"] = "5 4";
      svg("path", attributes, this.svg);
    });
    if (!known.length) {
      const middle = { x: (EDGE.left + this.width - EDGE.right) / 2, y: (EDGE.top + bottom) / 2, "text-anchor": "middle" };
      svg("text", { ...middle, class: "empty" }, this.svg).textContent = this.over ? "not known in this run" : "no values yet";
    }
    this.mark(points, x);
  }

  /** Write the values of the point under the pointer, or of the newest point while the run goes on. */
  mark(points, x) {
    let chosen = points.length - 1;
    if (this.hover !== null && points.length) {
      const off = points.map((point) => Math.abs(x(point.at_s) - this.hover));
      chosen = off.indexOf(Math.min(...off));
      const at = x(points[chosen].at_s);
      svg("line", { x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "cursor" }, this.svg);
    }
    this.series.forEach((one, place) => {
      const value = chosen < 0 ? null : one.of(points[chosen]);
      // After the run the newest point says only that everything has stopped.
      const silent = this.over && this.hover === null;
      this.values[place].textContent = silent ? "" : value === null ? "–" : this.format(value);
    });
  }

  range(known) {
    const most = Math.max(...known, this.least);
    if (!this.log) return [Math.min(0, ...known), most * 1.05];
    const least = known.length ? Math.min(...known) : this.least / 10;
    return [Math.min(least, most / 2) * 0.9, most * 1.1];
  }
}
