// Single runs: how they are spread, and what arms cost.

const BINS = 40;

// A step of 1, 2 or 5 times a power of ten that cuts the range into about BINS.
function niceStep(range) {
  const rough = range / BINS, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((m) => m * power >= rough);
}

view("histogram", () => {
  const metric = metricNow(), values = study.runs.metrics[state.metric], factor = factorNamed.get(chosen("histogram-by"));
  const runs = [];
  for (let i = 0; i < values.length; i += 1) if (kept[study.runs.arm[i]] && !Number.isNaN(values[i])) runs.push(i);
  if (!runs.length) return { empty: "No run left has a value." };
  const groups = factor ? groupsOf(factor, 8) : [[0, 0]], groupAt = factor ? groupIndex(groups) : null;
  const shades = factor ? groupColours(factor, groups.length) : [colour("series-1")];
  let low = Infinity, high = -Infinity;
  for (const i of runs) { low = Math.min(low, scaled(values[i], metric)); high = Math.max(high, scaled(values[i], metric)); }
  const step = high > low ? niceStep(high - low) : Math.abs(high) * 0.01 || 1, first = Math.floor(low / step);
  const bins = Math.floor(high / step) - first + 1, x = Array.from({ length: bins }, (_, b) => (first + b + 0.5) * step);
  const counts = groups.map(() => new Array(bins).fill(0));
  for (const i of runs) {
    const g = factor ? groupAt[factor.codes[study.runs.arm[i]]] : 0;
    if (g !== undefined) counts[g][Math.floor(scaled(values[i], metric) / step) - first] += 1;
  }
  const asShare = factor && chosen("histogram-height") === "share";
  const traces = groups.map((group, g) => {
    const total = counts[g].reduce((a, b) => a + b, 0), name = factor ? groupName(factor, group) : "runs";
    const text = `${factor ? `${plain(factor.label)} ${plain(name)}<br>` : ""}%{y}${asShare ? "%" : " runs"} at %{x:.5~g}<extra></extra>`;
    if (asShare) return { x, y: counts[g].map((n) => (total ? 100 * n / total : 0)), name, mode: "lines", line: { shape: "hvh", color: shades[g], width: 2 }, fill: "tozeroy", fillcolor: fade(shades[g], 0.1), hovertemplate: text.replace("%{y}", "%{y:.1f}") };
    return { type: "bar", x, y: counts[g], width: step * 0.94, name, marker: { color: shades[g] }, hovertemplate: text };
  }).filter((_, g) => counts[g].some((n) => n));
  const there = new Set(groups.map((_, g) => g).filter((g) => counts[g].some((n) => n)));
  legend("legend-histogram", factor ? groupLegend(factor, groups, shades, there) : []);
  const layout = { height: 380, barmode: "stack", bargap: 0, xaxis: axis(unit(metric), { showgrid: false }), yaxis: axis(asShare ? "share of the value’s runs (%)" : "runs", { rangemode: "tozero" }) };
  return { traces, layout, note: study.notices.runs };
});

const COSTS = { alone_seconds: "training time of a run alone (s)", train_seconds: "training time of a run (s)", parameters: "parameters" };

// The arms that no other one beats in both cost and metric, cheapest first.
function frontier(points, lower) {
  const better = (a, b) => (lower ? a < b : a > b), line = [];
  for (const point of [...points].sort((a, b) => a.cost - b.cost || (better(a.value, b.value) ? -1 : 1))) {
    if (!line.length || better(point.value, line[line.length - 1].value)) line.push(point);
  }
  return line;
}

view("time", () => {
  const metric = metricNow(), s = summaryNow(), cost = chosen("cost"), factor = factorNamed.get(chosen("time-by"));
  const points = rankedArms().map((arm) => ({ arm, cost: study.costs[cost][arm], value: scaled(s.mean[arm], metric) })).filter((point) => Number.isFinite(point.cost));
  if (!points.length) return { empty: "No arm left has a cost." };
  const groups = factor ? groupsOf(factor, 8) : [[0, 0]], groupAt = factor ? groupIndex(groups) : null;
  const shades = factor ? groupColours(factor, groups.length) : [colour("series-1")], intervals = points.length <= MOST_INTERVALS;
  const dots = groups.map((_, g) => {
    const own = points.filter(({ arm }) => !factor || groupAt[factor.codes[arm]] === g);
    const trace = {
      type: own.length > 1500 ? "scattergl" : "scatter", mode: "markers", x: own.map((point) => point.cost), y: own.map((point) => point.value), marker: { size: intervals ? 8 : 5, color: fade(shades[g], intervals ? 0.85 : 0.5) },
      text: own.map(({ arm }) => plain(study.arms[arm])), hovertemplate: `%{text}<br>${plain(metric.label)} %{y:.5~g} at %{x:,.4~g}<extra></extra>`,
    };
    if (intervals) trace.error_y = { type: "data", symmetric: false, thickness: 1, width: 0, color: fade(shades[g], 0.45), array: own.map(({ arm, value }) => scaled(s.high[arm], metric) - value), arrayminus: own.map(({ arm, value }) => value - scaled(s.low[arm], metric)) };
    return trace;
  }).filter((trace) => trace.x.length);
  const front = frontier(points, metric.lower);
  const line = { mode: "lines", x: front.map((point) => point.cost), y: front.map((point) => point.value), line: { color: colour("muted"), width: 1, dash: "dot", shape: "hv" }, hoverinfo: "skip" };
  const all = points.map((point) => point.cost), log = Math.min(...all) > 0 && Math.max(...all) / Math.min(...all) >= 10;
  legend("legend-time", factor ? groupLegend(factor, groups, shades, new Set(points.map(({ arm }) => groupAt[factor.codes[arm]]))) : []);
  const layout = { height: 440, xaxis: axis(COSTS[cost] ?? cost, { type: log ? "log" : "linear" }), yaxis: axis(unit(metric)) };
  return { traces: [line, ...dots], layout, note: intervals ? "" : `${points.length.toLocaleString("en")} arms: their intervals are left out.` };
});
