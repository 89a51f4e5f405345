// All factors at once: parallel coordinates, and a scatter that turns. Both are WebGL.

view("parallel", (place) => {
  const metric = metricNow(), arms = rankedArms().reverse();  // the best are drawn last, on top
  if (!arms.length) return { empty: "No arm left has a mean." };
  const values = arms.map((arm) => scaled(summaryNow().mean[arm], metric));
  // Arms of one value leave its place side by side, the worst below: ribbons, not one line over another.
  const ribbon = (factor) => {
    const width = factor.names.length > MANY ? 0 : 0.3 * gap(factor, factor.names.map((_, code) => code)), seen = new Map(), total = new Map();
    for (const arm of arms) total.set(factor.codes[arm], (total.get(factor.codes[arm]) ?? 0) + 1);
    return arms.map((arm) => {
      const code = factor.codes[arm], i = seen.get(code) ?? 0, n = total.get(code);
      seen.set(code, i + 1);
      return along(factor, Math.max(0, code)) + (n > 1 ? width * (i / (n - 1) - 0.5) : 0);
    });
  };
  const dimensions = study.factors.map((factor) => {
    const n = factor.names.length, every = Math.ceil(n / 8), codes = factor.names.map((_, code) => code).filter((code) => code % every === 0);
    return {
      label: plain(shorten(factor.label, 16)), values: ribbon(factor),
      tickvals: codes.map((code) => along(factor, code)), ticktext: codes.map((code) => shorten(factor.names[code], 14)),
    };
  });
  dimensions.push({ label: plain(shorten(unit(metric), 20)), values });
  place.style.minWidth = `${Math.max(300, 96 * dimensions.length)}px`;
  const font = (shade, size = 11) => ({ color: colour(shade), size });
  const trace = {
    type: "parcoords", dimensions, labelfont: font("ink", 12), tickfont: { ...font("ink"), shadow: Array(6).fill(`0 0 3px ${colour("paper")}`).join(", ") }, rangefont: font("bare", 1), unselected: { line: { color: colour("faint"), opacity: 0.15 } },
    line: { color: values, colorscale: scaleOf(metric), showscale: false },
  };
  return { traces: [trace], layout: { height: 420, margin: { l: 64, r: 64, t: 44, b: 24 } } };
}, { webgl: true });

// A factor or a metric as an axis in space: {title, at(arm), axis}.
function dimension(word) {
  const [kind, name] = [word.slice(0, word.indexOf(":")), word.slice(word.indexOf(":") + 1)];
  if (kind === "metric") {
    const metric = metricNamed.get(name);
    return { title: unit(metric), metric, at: (arm) => scaled(study.summary[name].mean[arm], metric), axis: axis(unit(metric)) };
  }
  const factor = factorNamed.get(name);
  return { title: factor.label, at: (arm) => onAxis(factor, along(factor, factor.codes[arm])), axis: factorAxis(factor) };
}

view("space", (place) => {
  const [x, y, z, shade] = ["space-x", "space-y", "space-z", "space-colour"].map((name) => dimension(chosen(name)));
  const arms = keptArms().filter((arm) => [x, y, z, shade].every((one) => Number.isFinite(one.at(arm))));
  if (!arms.length) return { empty: "No arm left has all four." };
  const points = [...groupBy(arms, (arm) => [x.at(arm), y.at(arm), z.at(arm)].join()).values()];
  const value = points.map((own) => mean(own.map(shade.at)));
  const narrow = place.clientWidth < 560, far = narrow ? 1.4 : 1.06;
  const scene = (one) => ({ ...one.axis, title: { text: plain(one.title), font: { size: 12, color: colour("muted") } }, backgroundcolor: "rgba(0,0,0,0)", showspikes: false, gridcolor: colour("line"), showline: true, automargin: undefined });
  const trace = {
    type: "scatter3d", mode: "markers", x: points.map(([arm]) => x.at(arm)), y: points.map(([arm]) => y.at(arm)), z: points.map(([arm]) => z.at(arm)),
    text: points.map((own, i) => `${own.length > 1 ? `mean of ${own.length} arms` : plain(shorten(study.arms[own[0]], 70))}<br>${plain(shade.title)} ${Number(value[i].toPrecision(5))}`),
    hovertemplate: "%{text}<extra></extra>",
    marker: { size: points.length > 800 ? 3 : 6, color: value, colorscale: scaleOf(shade.metric), opacity: 0.92, line: { width: 0 }, showscale: true,
      colorbar: narrow ? { ...colourBar(shade.title), orientation: "h", y: -0.02, yanchor: "top", len: 0.9, title: { text: plain(shade.title), side: "bottom", font: { size: 11 } } } : colourBar(shade.title) },
  };
  const layout = {
    height: narrow ? 440 : 560, margin: { l: 0, r: 0, t: 0, b: narrow ? 48 : 0 },
    scene: { xaxis: scene(x), yaxis: scene(y), zaxis: scene(z), aspectmode: "manual", aspectratio: { x: 1, y: 1, z: 0.8 }, camera: { eye: { x: 1.25 * far, y: -1.42 * far, z: 0.8 * far }, center: { x: 0, y: 0, z: -0.14 } } }, uirevision: "space",
  };
  return { traces: [trace], layout, note: points.length < arms.length ? `${points.length.toLocaleString("en")} places of ${arms.length.toLocaleString("en")} arms.` : "" };
}, { webgl: true });
