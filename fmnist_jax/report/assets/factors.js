// A metric against one factor, and over two.

const MOST_INTERVALS = 300;
const MOST_CELLS = 24;

// An axis of a factor's values: logarithmic, linear, or side by side, as payload.py found it reads best.
function factorAxis(factor, more = {}) {
  const n = factor.names.length, every = Math.ceil(n / 16);
  const ticks = (values) => ({ tickvals: values.filter((_, i) => i % every === 0), ticktext: factor.names.filter((_, i) => i % every === 0).map((name) => plain(shorten(name, 18))) });
  if (factor.scale === "ordinal") return axis(factor.label, { ...ticks(factor.names.map((_, i) => i)), range: [-0.6, n - 0.4], ...more });
  return axis(factor.label, { type: factor.scale, ...(n <= MANY ? ticks(factor.values) : factor.scale === "log" ? { dtick: 1, exponentformat: "power" } : { nticks: 8 }), ...more });
}

// Where a value lies, in the axis's own (logged) units and back.
function along(factor, code) {
  if (factor.scale === "ordinal") return code;
  return factor.scale === "log" ? Math.log10(factor.values[code]) : factor.values[code];
}
function onAxis(factor, place) { return factor.scale === "log" ? 10 ** place : place; }

function gap(factor, codes) {
  const places = [...new Set(codes)].map((code) => along(factor, code)).sort((a, b) => a - b);
  const gaps = places.slice(1).map((place, i) => place - places[i]);
  return gaps.length ? Math.min(...gaps) : 1;
}

view("slices", () => {
  const metric = metricNow(), s = summaryNow(), factor = factorNamed.get(chosen("slice")), by = factorNamed.get(chosen("slice-by"));
  const arms = rankedArms().filter((arm) => factor.codes[arm] >= 0);
  if (!arms.length) return { empty: "No arm left has a mean." };
  const split = by && by !== factor ? by : null;
  const groups = split ? groupsOf(split, 8) : [[0, 0]], groupAt = split ? groupIndex(groups) : null;
  const shades = split ? groupColours(split, groups.length) : [colour("series-1")];
  const groupOf = (arm) => (split ? groupAt[split.codes[arm]] : 0);
  const cells = groupsOf(factor, factor.numeric ? MANY : 40), cellAt = groupIndex(cells);
  const width = 0.55 * gap(factor, arms.map((arm) => factor.codes[arm]));
  const places = dodge(arms, factor, groupOf, width), intervals = arms.length <= MOST_INTERVALS;
  const traces = groups.flatMap((group, g) => {
    const own = arms.filter((arm) => groupOf(arm) === g);
    if (!own.length) return [];
    const y = own.map((arm) => scaled(s.mean[arm], metric)), shade = shades[g];
    const points = {
      type: own.length > 1500 ? "scattergl" : "scatter", mode: "markers", x: own.map((arm) => places.get(arm)), y,
      text: own.map((arm) => plain(study.arms[arm])), hovertemplate: `%{text}<br>${plain(metric.label)} %{y:.5~g}<extra></extra>`,
      marker: { size: intervals ? 6 : 4, color: fade(shade, intervals ? 0.7 : 0.35) },
    };
    if (intervals) points.error_y = {
      type: "data", symmetric: false, thickness: 1, width: 0, color: fade(shade, 0.4),
      array: own.map((arm, i) => scaled(s.high[arm], metric) - y[i]), arrayminus: own.map((arm, i) => y[i] - scaled(s.low[arm], metric)),
    };
    const line = cells.map((cell, c) => {
      const here = own.filter((arm) => cellAt[factor.codes[arm]] === c);
      return [mean(here.map((arm) => along(factor, factor.codes[arm]))), mean(here.map((arm) => scaled(s.mean[arm], metric)))];
    }).filter(([x, value]) => !Number.isNaN(x) && !Number.isNaN(value));
    const through = {
      type: "scatter", mode: "lines+markers", x: line.map(([x]) => onAxis(factor, x)), y: line.map(([, value]) => value),
      line: { color: shade, width: 2.5 }, marker: { size: 8, color: shade, symbol: "diamond" },
      name: split ? groupName(split, group) : "mean over the arms left",
      hovertemplate: `${split ? `${plain(split.label)} ${plain(groupName(split, group))}<br>` : ""}mean over the arms left %{y:.5~g}<extra></extra>`,
    };
    return [points, through];
  });
  legend("legend-slices", split ? groupLegend(split, groups, shades, new Set(arms.map(groupOf)), "line") : []);
  const notes = [
    !intervals && `${arms.length.toLocaleString("en")} arms: their intervals are left out (they are drawn for up to ${MOST_INTERVALS}).`,
    by && !split && "For lines, choose another factor than the one across.",
    cells.length < factor.names.length && `The line joins means over ${cells.length} stretches of neighbouring values.`,
    factor.scale === "ordinal" && factor.numeric && "Values are put side by side, not to scale.",
  ];
  return { traces, layout: { height: 440, xaxis: factorAxis(factor), yaxis: axis(unit(metric)) }, note: notes.filter(Boolean).join(" ") };
});

// Arms of one value side by side, so that their intervals can be told apart.
function dodge(arms, factor, groupOf, width) {
  const byCode = groupBy(arms, (arm) => factor.codes[arm]), places = new Map();
  for (const [code, own] of byCode) {
    own.sort((a, b) => groupOf(a) - groupOf(b));  // stable: within a group the best stay first
    own.forEach((arm, i) => {
      // Many points, sorted, would look like a slope: those are scattered, always the same way.
      const part = arms.length > MOST_INTERVALS ? (arm * 0.618034) % 1 : i / (own.length - 1);
      const aside = own.length > 1 ? width * (part - 0.5) : 0;
      places.set(arm, onAxis(factor, along(factor, code) + aside));
    });
  }
  return places;
}

view("heat", (place) => {
  const metric = metricNow(), s = summaryNow(), across = factorNamed.get(chosen("heat-x")), down = factorNamed.get(chosen("heat-y"));
  if (across === down) return { empty: "Choose two different factors." };
  const arms = rankedArms();
  if (!arms.length) return { empty: "No arm left has a mean." };
  const [columns, rows] = [across, down].map((factor) => groupsOf(factor, MOST_CELLS).filter(([first, last]) => {
    return arms.some((arm) => factor.codes[arm] >= first && factor.codes[arm] <= last);
  }));
  const inside = (factor, [first, last]) => (arm) => factor.codes[arm] >= first && factor.codes[arm] <= last;
  const counts = [], z = rows.map((r) => {
    const here = arms.filter(inside(down, r));
    counts.push(columns.map((c) => here.filter(inside(across, c)).length));
    return columns.map((c) => { const value = scaled(mean(here.filter(inside(across, c)).map((arm) => s.mean[arm])), metric); return Number.isNaN(value) ? null : value; });
  });
  const names = (factor, groups) => groups.map((group) => plain(shorten(groupName(factor, group), 20)));
  const room = place.clientWidth / columns.length, written = room > 46 && rows.length <= MOST_CELLS;
  const trace = {
    type: "heatmap", z, x: columns.map((_, i) => i), y: rows.map((_, i) => i), xgap: 2, ygap: 2, colorscale: cellScale(metric.lower), customdata: counts,
    text: z.map((line) => line.map((value) => (value === null ? "" : show(metric.share ? value / 100 : value, metric.share)))),
    texttemplate: written ? "%{text}" : "", textfont: { size: 12, color: colour("ink") }, hoverongaps: false,
    hovertemplate: `%{text}, mean of %{customdata} arms<extra></extra>`, colorbar: colourBar(unit(metric)), showscale: place.clientWidth > 560,
  };
  const ticks = (factor, groups) => ({ tickvals: groups.map((_, i) => i), ticktext: names(factor, groups), showgrid: false, ticks: "" });
  const layout = { height: Math.max(220, rows.length * 44 + 90), xaxis: axis(across.label, ticks(across, columns)), yaxis: axis(down.label, { ...ticks(down, rows), autorange: "reversed" }) };
  const grouped = [across, down].filter((factor) => factor.names.length > MOST_CELLS).map((factor) => factor.label);
  return { traces: [trace], layout, note: grouped.length ? `Neighbouring values of ${grouped.join(" and ")} are put together.` : "" };
});
