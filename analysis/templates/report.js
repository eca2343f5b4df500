// Draws the report's charts with BokehJS from the data in the page, in place of its pictures. If that fails, the
// pictures stay. Text from the run is only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const plotting = Bokeh.Plotting;
  Bokeh.logger.set_level("error");
  const INK = "#7a7f87";
  const linked = [];
  const drawn = new Map();

  // Numbers as the rest of the report shows them: three significant digits and a fitting unit.
  const significant = (value, digits = 3) => {
    const rounded = Math.abs(Number(value.toPrecision(digits)));
    const whole = rounded >= 1 ? String(Math.trunc(rounded)).length : 0;
    const places = Math.max(0, digits - whole);
    return value.toLocaleString("en", {minimumFractionDigits: places, maximumFractionDigits: places});
  };
  const scaled = (ms, write) => {
    for (const [size, unit] of [[1e3, "s"], [1, "ms"], [1e-3, "µs"]])
      if (Math.abs(ms) >= size * 0.9995) return `${write(ms / size)} ${unit}`;
    return ms === 0 ? "0" : `${write(ms * 1e6)} ns`;
  };
  const clock = (seconds) => new Date(data.origin_ms + seconds * 1000).toISOString().slice(11, 23) + " UTC";
  const phaseAt = (seconds) => {
    const found = data.phases.find(({begin, end}) => begin <= seconds && (end === null || seconds < end));
    return found ? ` · ${found.name}` : "";
  };
  const percentile = (above) => {
    const nines = Math.max(0, -Math.log10(above) - 1);
    return `p${Number((100 * (1 - above)).toFixed(Math.min(7, Math.ceil(nines) + 1)))}`;
  };
  const TICK = {
    time: (value) => String(Number(value.toPrecision(9))),
    ms: (value) => scaled(value, (number) => String(Number(number.toPrecision(6)))),
    count: (value) => value.toLocaleString("en"),
    above: (value) => (value > 0.4 ? `${Math.round(100 * (1 - value))} %` : `${Number((100 * (1 - value)).toFixed(8))} %`),
    percent: (value) => String(Number(value.toPrecision(6))),
    number: (value) => value.toLocaleString("en"),
  };
  const SAID = {
    time: (value) => `${value.toFixed(2)} s · ${clock(value)}`,
    ms: (value) => scaled(value, significant),
    count: (value) => value.toLocaleString("en", {maximumFractionDigits: 1}),
    above: percentile,
    percent: (value) => `${significant(value)} %`,
    number: (value) => significant(value),
  };

  const element = (tag, content, kind) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    for (const each of [].concat(content ?? [])) made.append(each);
    return made;
  };

  // The value of a series at x: of a step the last one, of a line or of points the nearest.
  const valueAt = (series, x, reach) => {
    const xs = series.x;
    const falling = xs.length > 1 && xs[0] > xs[xs.length - 1];
    let low = 0, high = xs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (falling ? xs[middle] >= x : xs[middle] <= x) low = middle + 1;
      else high = middle;
    }
    if (series.kind === "bars") return low > 0 && x < xs[low - 1] + series.width ? low - 1 : null;
    if (series.kind === "step") return low > 0 && (low < xs.length || x <= xs[low - 1]) ? low - 1 : null;
    const near = [low - 1, low].filter((place) => place >= 0 && place < xs.length);
    if (!near.length) return null;
    const best = near.reduce((one, other) => (Math.abs(xs[other] - x) < Math.abs(xs[one] - x) ? other : one));
    return Math.abs(xs[best] - x) <= reach ? best : null;
  };

  const tooltip = (title, rows) => {
    const box = element("div", element("b", title), "tip");
    box.style.cssText = "font:13px system-ui,sans-serif;padding:6px 9px;background:#1c2127;color:#f2f4f7;border-radius:3px;max-width:19rem;outline:7px solid #1c2127";
    for (const [colour, name, value] of rows) {
      const line = element("div");
      line.style.cssText = "display:flex;gap:6px;align-items:baseline;margin-top:2px";
      const swatch = element("span");
      swatch.style.cssText = `flex:none;width:9px;height:9px;border-radius:2px;background:${colour}`;
      const label = element("span", name);
      label.style.cssText = "flex:1;overflow-wrap:anywhere";
      const figure = element("b", value);
      figure.style.cssText = "white-space:nowrap;font-variant-numeric:tabular-nums";
      line.append(swatch, label, figure);
      box.append(line);
    }
    return box;
  };

  const styleAxis = (axis, formatter) => {
    axis.formatter = formatter;
    for (const [name, value] of Object.entries({
      axis_label_text_color: INK, axis_label_text_font_style: "normal", axis_label_text_font_size: "12px",
      major_label_text_color: INK, major_label_text_font_size: "12px", axis_line_color: INK,
      major_tick_line_color: INK, minor_tick_line_color: null,
    })) axis[name] = value;
  };

  const formatter = (unit) => {
    const made = new Bokeh.BasicTickFormatter();
    made.doFormat = (ticks) => ticks.map(TICK[unit]);
    return made;
  };

  const addSeries = (plot, series) => {
    const renderers = [];
    const name = series.name ?? "";
    if (series.kind === "bars") {
      const top = series.y.map((height, place) => height + series.base[place]);
      const right = series.x.map((left) => left + series.width);
      renderers.push(plot.quad({left: series.x, right, top, bottom: series.base, fill_color: series.colour, line_color: null, name}));
    } else if (series.kind === "points") {
      renderers.push(plot.scatter({
        x: series.x, y: series.y, size: series.size * 1.3, line_color: series.colour,
        fill_color: series.hollow ? null : series.colour, name,
      }));
    } else {
      const line = {x: series.x, y: series.y, line_color: series.colour, line_width: series.width, line_dash: series.dash, name};
      renderers.push(series.kind === "step" ? plot.step({...line, mode: "after"}) : plot.line(line));
      if (series.kind === "line" && series.x.length <= 120)
        renderers.push(plot.scatter({x: series.x, y: series.y, size: 4, color: series.colour, name}));
    }
    return renderers;
  };

  const addHeat = (plot, heat, panel) => {
    const pick = (edges, places, next) => places.map((place) => edges[place + next]);
    const cells = plot.quad({
      left: pick(heat.columns, heat.column, 0), right: pick(heat.columns, heat.column, 1),
      bottom: pick(heat.rows, heat.row, 0), top: pick(heat.rows, heat.row, 1),
      fill_color: heat.shade.map((shade) => heat.shades[shade]), line_color: null,
    });
    plot.add_tools(new Bokeh.HoverTool({
      renderers: [cells], mode: "mouse", point_policy: "follow_mouse",
      tooltips: (_, at) => {
        const place = at.index;
        const low = SAID[panel.y.unit](heat.rows[heat.row[place]]), high = SAID[panel.y.unit](heat.rows[heat.row[place] + 1]);
        return tooltip(SAID[panel.x.unit](heat.columns[heat.column[place]]),
          [[heat.shades[heat.shade[place]], `${low} … ${high}`, heat.count[place].toLocaleString("en")]]);
      },
    }));
  };

  // Where the y axis ends: above the data by the height of the names of phases, if there are any.
  const topOf = ({y: {begin, end, log}, names}) => {
    if (!names.length) return end;
    return log ? end * (end / begin) ** 0.1 : end + (end - begin) * 0.1;
  };

  const draw = (panel) => {
    const time = panel.x.unit === "time";
    const top = topOf(panel);
    const x = new Bokeh.Range1d({start: panel.x.begin, end: panel.x.end});
    const y = new Bokeh.Range1d({start: panel.y.begin, end: top});
    const zoom = new Bokeh.BoxZoomTool({dimensions: time ? "width" : "both"});
    const plot = plotting.figure({
      x_range: x, y_range: y, x_axis_type: panel.x.log ? "log" : "linear", y_axis_type: panel.y.log ? "log" : "linear",
      height: 250, sizing_mode: "stretch_width", toolbar_location: null, tools: [zoom], active_drag: zoom,
      background_fill_color: null, border_fill_color: null, outline_line_color: null,
      min_border_left: 76, min_border_right: 12, output_backend: "canvas",
    });
    plot.xaxis.axis_label = panel.x.label || null;
    plot.yaxis.axis_label = panel.y.label || null;
    styleAxis(plot.xaxis, formatter(panel.x.unit));
    styleAxis(plot.yaxis, formatter(panel.y.unit));
    if (panel.x.unit === "above") {
      const ticks = [0.5];
      for (let above = 0.1; above >= panel.x.end * 0.999; above /= 10) ticks.push(Number(above.toPrecision(3)));
      // A phone has room for every other label: 50 %, 99 %, 99.99 %.
      const shown = innerWidth < 500 ? ticks.filter((_, place) => place % 2 === 0) : ticks;
      const spread = new Bokeh.FixedTicker({ticks: shown, minor_ticks: []});
      plot.xaxis.ticker = spread;
      plot.xgrid.ticker = spread;
    }
    if (panel.y.log) {
      // Where few decades are shown, Bokeh would write more labels than have room.
      const ticks = [];
      for (let size = 10 ** Math.floor(Math.log10(panel.y.begin)); size <= top; size *= 10)
        for (const times of [1, 2, 5]) if (size * times >= panel.y.begin && size * times <= top) ticks.push(size * times);
      if (ticks.length > 1 && ticks.length <= 9) {
        const spread = new Bokeh.FixedTicker({ticks, minor_ticks: []});
        plot.yaxis.ticker = spread;
        plot.ygrid.ticker = spread;
      }
    }
    if (innerWidth < 500 && "desired_num_ticks" in plot.xaxes[0].ticker) plot.xaxes[0].ticker.desired_num_ticks = 4;
    for (const grid of [plot.xgrid, plot.ygrid]) {
      grid.grid_line_color = INK;
      grid.grid_line_alpha = 0.25;
    }
    for (const {begin, end, colour, alpha} of panel.spans)
      plot.add_layout(new Bokeh.BoxAnnotation({left: begin, right: end, fill_color: colour, fill_alpha: alpha, line_color: null, level: "underlay"}));
    for (const {x: at, colour} of panel.marks)
      plot.add_layout(new Bokeh.Span({location: at, dimension: "height", line_color: colour, line_dash: [6, 4]}));
    if (panel.heat) addHeat(plot, panel.heat, panel);
    const bands = panel.bands.map((band) =>
      [band.colour, plot.patch({x: band.x, y: band.y, fill_color: band.colour, fill_alpha: band.alpha, line_color: null})]);
    const shown = panel.series.map((series) => {
      const renderers = addSeries(plot, series);
      for (const [colour, band] of bands) if (colour === series.colour) renderers.push(band);
      return {series, renderers, on: true};
    });
    // Names of phases; Bokeh would read `$$` as mathematics.
    const pixels = (Math.min(innerWidth, 1000) - 150) / (panel.x.end - panel.x.begin);
    const hasRoom = (text) => {
      const phase = data.phases.find(({name}) => name === text);
      if (!phase) return true;
      const seen = Math.min(phase.end ?? panel.x.end, panel.x.end) - Math.max(phase.begin, panel.x.begin);
      return seen * pixels > 6 * text.length;
    };
    for (const {text, x: at} of panel.names.filter(({text}) => hasRoom(text)))
      plot.add_layout(new Bokeh.Label({
        text: text.replaceAll("$", ""), x: at, y: top, text_align: "center", text_baseline: "top",
        text_color: INK, text_font_size: "11px", level: "underlay",
      }));
    if (shown.length) {
      // An unseen line across the whole of x: wherever the pointer is, all visible series are read at its x.
      const anchor = plot.line({x: [Math.min(x.start, x.end), Math.max(x.start, x.end)], y: [y.start || y.end, y.start || y.end], line_alpha: 0});
      plot.add_tools(new Bokeh.HoverTool({
        renderers: [anchor], mode: "vline", point_policy: "follow_mouse", show_arrow: false, attachment: "horizontal",
        tooltips: (_, at) => {
          const reach = panel.x.log ? Math.abs(at.x) : Math.abs(x.end - x.start) / 25;
          const rows = [];
          for (const {series, on} of shown) {
            const place = on ? valueAt(series, at.x, reach) : null;
            if (place !== null && series.y[place] !== null)
              rows.push([series.colour, series.name ?? panel.y.label, SAID[panel.y.unit](series.y[place])]);
          }
          const head = SAID[panel.x.unit](at.x);
          return tooltip(time ? `${head}${phaseAt(at.x)}` : head, rows);
        },
      }), new Bokeh.CrosshairTool({dimensions: "height", line_color: INK, line_alpha: 0.6}));
    }
    if (time) link({range: x, home: [panel.x.begin, panel.x.end]});
    return {plot, shown, home: {x: [panel.x.begin, panel.x.end], y: [panel.y.begin, top]}, time, panel};
  };

  // Time plots share their zoom. Each has its own view of the whole, to which a double click returns.
  let busy = false;
  let zoomed = null;
  const setAll = (of) => {
    busy = true;
    for (const each of linked) {
      const [start, end] = of(each);
      each.range.setv({start, end});
    }
    busy = false;
    document.body.classList.toggle("zoomed", zoomed !== null);
  };
  const link = (entry) => {
    linked.push(entry);
    if (zoomed) entry.range.setv({start: zoomed[0], end: zoomed[1]});
    entry.range.change.connect(() => {
      if (busy) return;
      zoomed = [entry.range.start, entry.range.end];
      setAll(() => zoomed);
    });
  };
  const reset = (chart) => {
    if (!chart || chart.time) {
      zoomed = null;
      setAll(({home}) => home);
      return;
    }
    chart.plot.x_range.setv({start: chart.home.x[0], end: chart.home.x[1]});
    chart.plot.y_range.setv({start: chart.home.y[0], end: chart.home.y[1]});
  };

  // The colour of a swatch, with gaps if the curve has gaps.
  const filling = ({colour, dash}) =>
    dash?.length ? `repeating-linear-gradient(90deg, ${colour} 0 4px, transparent 4px 6px)` : colour;

  // The colours of a heat map, from one delivery in a cell to the most.
  const scale = ({shades, count}) => {
    const swatch = element("i", [], "scale");
    swatch.style.background = `linear-gradient(90deg, ${shades.join(", ")})`;
    return element("span", ["1", swatch, `${Math.max(2, ...count).toLocaleString("en")} deliveries a cell`], "shades");
  };

  const legend = (chart) => {
    const named = chart.shown.filter(({series}) => series.name !== null);
    const box = element("div", [], "legend");
    if (chart.panel.heat) box.append(scale(chart.panel.heat));
    for (const entry of named) {
      const swatch = element("i");
      swatch.style.background = filling(entry.series);
      const button = element("button", [swatch, entry.series.name]);
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        entry.on = !entry.on;
        button.setAttribute("aria-pressed", String(entry.on));
        for (const renderer of entry.renderers) renderer.visible = entry.on;
      });
      box.append(button);
    }
    return box.childElementCount ? box : null;
  };

  const show = async (figure, panels) => {
    const charts = panels.map(draw);
    const place = element("div", [], "live");
    const heads = charts.map((chart) => {
      const canvas = element("div", [], "canvas");
      const head = element("div", [chart.panel.title ? element("h3", chart.panel.title) : "", legend(chart) ?? "", canvas]);
      canvas.addEventListener("dblclick", () => reset(chart));
      place.append(head);
      return canvas;
    });
    figure.append(place);
    // Visible before it is drawn: Bokeh lays charts out by the room that they have.
    figure.classList.add("drawn");
    const page = new Bokeh.Document();
    for (const {plot} of charts) page.add_root(plot);
    await Bokeh.embed.add_document_standalone(page, place, heads);
    for (const [at, head] of heads.entries()) head.chart = charts[at];
    figure.setAttribute("role", "group");
    drawn.set(figure.dataset.plot, charts);
  };

  // Make a member's curve thick and the others pale; without a member, or in a chart without it, all are as they were.
  const highlight = (chart, member) => {
    const its = (entry) => member && (entry.series.name === member.series || entry.series.name === member.name);
    const there = chart.shown.some(its);
    for (const entry of chart.shown)
      for (const {glyph} of entry.renderers) {
        if (!entry.series.width || glyph.line_alpha === undefined) continue;
        glyph.line_alpha = !there || its(entry) ? 1 : 0.15;
        if (entry.series.kind !== "points") glyph.line_width = there && its(entry) ? 3.5 : entry.series.width;
      }
  };

  // The closer look: one channel, worker, group or address, its figures, and its curve among the others.
  const closer = () => {
    const section = document.getElementById("closer");
    if (!section || !data.closer.length) return () => {};
    const [kinds, members] = section.querySelectorAll("select");
    const facts = section.querySelector("tbody");
    const choose = () => {
      const kind = data.closer[kinds.value];
      const member = members.value === "" ? null : kind.members[members.value];
      facts.replaceChildren(...(member ? [member] : kind.members).map((each) =>
        element("tr", [element("td", each.name), ...each.figures.map((figure) => element("td", figure))])));
      section.querySelector("thead tr").replaceChildren(...[kind.name, ...kind.columns].map((name) => element("th", name)));
      // The other ways to divide the run show all of their curves.
      for (const each of data.closer)
        for (const name of each.plots)
          for (const chart of drawn.get(name) ?? []) highlight(chart, each === kind ? member : null);
    };
    const list = () => {
      const all = new Option("all", "");
      members.replaceChildren(all, ...data.closer[kinds.value].members.map((each, place) => new Option(each.name, place)));
      choose();
    };
    kinds.replaceChildren(...data.closer.map((each, place) => new Option(each.name, place)));
    kinds.addEventListener("change", list);
    members.addEventListener("change", choose);
    section.hidden = false;
    list();
    return choose;
  };

  // One chart at a time, so that the page can be read and scrolled from the start.
  const pause = () => new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done, {timeout: 50}));
  const begin = async () => {
    const whole = element("button", "Show the whole time");
    whole.id = "whole";
    whole.type = "button";
    whole.addEventListener("click", () => reset(null));
    document.body.append(whole);
    const choose = closer();
    document.body.classList.add("interactive");
    for (const figure of document.querySelectorAll("figure[data-plot]")) {
      await pause();
      const panels = data.plots[figure.dataset.plot];
      if (panels) await show(figure, panels);
    }
    choose();
    document.body.classList.add("complete");
  };
  begin().catch((error) => {
    // The pictures are still there.
    document.body.classList.remove("interactive");
    for (const figure of document.querySelectorAll("figure.drawn")) figure.classList.remove("drawn");
    for (const live of document.querySelectorAll(".live")) live.remove();
    console.error(error);
  });
})();
