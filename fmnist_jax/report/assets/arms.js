// The dot plot: arms with their intervals, the best on top.

const MOST_DOTS = 60;

view("dots", (place) => {
  const metric = metricNow(), s = summaryNow(), ranked = rankedArms();
  if (!ranked.length) return { empty: "No arm left has a mean." };
  const arms = ranked.slice(0, MOST_DOTS), narrow = place.clientWidth < 560;
  // Standing was judged in the study's own metric; in another it would mislead.
  const judged = state.metric === study.metric;
  const shades = [colour("series-2"), colour("series-1"), colour("faint")];
  const shade = arms.map((arm) => (judged ? shades[study.standing[arm]] : colour("series-1")));
  const at = (name) => arms.map((arm) => scaled(s[name][arm], metric));
  const means = at("mean"), high = at("high"), low = at("low");
  const hover = arms.map((arm) => `<b>${plain(study.arms[arm])}</b><br>${show(s.mean[arm], metric.share)} [${showInterval(s.low[arm], s.high[arm], metric.share)}], n = ${s.n[arm]}${judged && STANDING[study.standing[arm]] ? `<br>${STANDING[study.standing[arm]]}` : ""}`);
  const y = arms.map((_, i) => i);
  const lines = arms.map((_, i) => ({ type: "line", x0: low[i], x1: high[i], y0: i, y1: i, line: { color: shade[i], width: 2 } }))
    .filter((line) => Number.isFinite(line.x0) && Number.isFinite(line.x1));
  const names = arms.map((arm) => plain(shorten(study.arms[arm], narrow ? Math.floor(place.clientWidth / 6) : 52)));
  const layout = {
    height: arms.length * (narrow ? 38 : 24) + 64, shapes: lines,
    xaxis: axis(unit(metric), { side: "bottom" }),
    yaxis: axis("", { range: [arms.length - 0.4, narrow ? -0.9 : -0.6], tickvals: y, ticktext: names, showgrid: !narrow, showticklabels: !narrow, ticks: "", fixedrange: true }),
    annotations: narrow ? names.map((text, i) => ({ text, x: 0, xref: "paper", xanchor: "left", y: i - 0.42, showarrow: false, font: { size: 11, color: colour("muted") } })) : [],
  };
  // Shapes do not widen the axis; these invisible ends do.
  const ends = { x: [...low, ...high], y: [...y, ...y], mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip" };
  const dots = { x: means, y, text: hover, hovertemplate: "%{text}<extra></extra>", mode: "markers", marker: { size: 9, color: shade } };
  const key = judged && study.standing.includes(0) ? " Orange: the best; blue: not distinguishable from it; grey: the others." : "";
  const capped = ranked.length > arms.length ? `The best ${arms.length} of ${ranked.length.toLocaleString("en")} arms.` : "";
  return { traces: [ends, dots], layout, note: `${capped}${key}`.trim() };
});
