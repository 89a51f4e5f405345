// Learning curves of a few arms: a colour an arm, a dash a split.

const DASHES = { validation: "solid", train: "dot", test: "dash" };
const MOST_CURVES = 8;
let picked = null;  // arms the reader chose; null: the best and a few others
const splitsOff = new Set();

function curveOf(name, arm) {
  const table = study.curves.metrics[name], i = table ? table.arm.indexOf(arm) : -1;
  if (i < 0) return null;
  const part = (column) => table[column].subarray(table.start[i], table.start[i + 1]);
  return { step: part("step"), epoch: part("epoch"), mean: part("mean"), low: part("low"), high: part("high"), share: table.share };
}

function curveArms() {
  const embedded = new Set(study.curves.arms);
  const left = (picked ?? []).filter((arm) => kept[arm] && embedded.has(arm));
  if (left.length) return left;
  const ranked = rankedArms(metricNamed.get(study.metric)).filter((arm) => embedded.has(arm));
  if (ranked.length <= 6) return ranked;
  const places = [0, 1, 2, 3, 4, 5].map((i) => Math.round(i * (ranked.length - 1) / 5));
  return places.map((place) => ranked[place]);
}

function drawnSplits(quantity) {
  return Object.keys(DASHES).filter((split) => study.curves.metrics[`${split}_${quantity}`]);
}

function updateCurveChoice(arms, shades) {
  const chip = (arm, i) => element("span", { class: "legend-item removable" },
    element("i", { class: "swatch line", style: `--shade:${shades[i]}` }), element("span", { title: study.arms[arm] }, ...breakable(shorten(study.arms[arm], 72))),
    element("button", { type: "button", "aria-label": `Take ${study.arms[arm]} away`, onclick: () => { picked = arms.filter((one) => one !== arm); redrawCurves(); } }, "×"));
  const again = element("button", { type: "button", class: "quiet small", onclick: () => { picked = null; redrawCurves(); } }, "back to the best and others");
  byId("shown-arms").replaceChildren(...arms.map(chip), ...(picked ? [again] : []));
  const splits = drawnSplits(chosen("quantity"));
  byId("splits").replaceChildren(...(splits.length > 1 ? splits : []).map((split) => {
    const box = element("input", { type: "checkbox" });
    box.checked = !splitsOff.has(split);
    box.addEventListener("change", () => { if (box.checked) splitsOff.delete(split); else splitsOff.add(split); redrawCurves(); });
    return element("label", { class: "check" }, box, element("i", { class: `swatch stroke ${DASHES[split]}` }), split);
  }));
}

function redrawCurves() { drawView(byId("plot-curves")); }

view("curves", () => {
  const quantity = chosen("quantity"), clock = chosen("clock"), arms = curveArms(), shades = seriesColours();
  updateCurveChoice(arms, shades);
  const traces = [];
  let share = false;
  for (const split of drawnSplits(quantity).concat(study.curves.metrics[quantity] ? [""] : [])) {
    if (splitsOff.has(split)) continue;
    arms.forEach((arm, i) => {
      const curve = curveOf(split ? `${split}_${quantity}` : quantity, arm);
      if (!curve) return;
      share = curve.share;
      const factor = curve.share ? 100 : 1, times = (column) => Array.from(curve[column], (value) => factor * value);
      const x = Array.from(curve[clock]), common = { x, legendgroup: arm, mode: "lines", hoverinfo: "skip" };
      // Equal repeats have no interval, and Plotly fills across a gap what lies elsewhere.
      const known = x.map((_, at) => at).filter((at) => Number.isFinite(curve.low[at]) && Number.isFinite(curve.high[at]));
      const edge = (column) => ({ x: known.map((at) => x[at]), y: known.map((at) => factor * curve[column][at]), line: { width: 0 } });
      traces.push({ ...common, ...edge("low") });
      traces.push({ ...common, ...edge("high"), fill: "tonexty", fillcolor: fade(shades[i], split === "train" ? 0.08 : 0.16) });
      traces.push({
        ...common, y: times("mean"), hoverinfo: undefined, line: { color: shades[i], width: split === "train" ? 1.5 : 2, dash: DASHES[split] ?? "solid" },
        mode: x.length > 1 ? "lines" : "markers", name: `${split} ${study.arms[arm]}`.trim(),
        hovertemplate: `${plain(shorten(study.arms[arm], 60))}<br>${split} ${plain(quantity)} %{y:.4~g} at ${clock} %{x:,~g}<extra></extra>`,
      });
    });
  }
  if (!traces.length) return { empty: "No curve of these arms is in this page." };
  const layout = { height: 460, xaxis: axis(clock), yaxis: axis(quantity.replace(/_/g, " ") + (share ? " (%)" : "")) };
  const left = rankedArms(metricNamed.get(study.metric)).length;
  const some = arms.length < left ? `${count(arms.length, "arm")} of ${left.toLocaleString("en")} drawn${picked ? "" : ": the best, and others evenly down to the worst"}.` : "";
  return { traces, layout, note: [some, study.notices.curves].filter(Boolean).join(" ") };
});

function wireCurves() {
  const input = byId("add-arm");
  if (!input) return;
  byId("arm-names").replaceChildren(...study.curves.arms.map((arm) => element("option", { value: study.arms[arm] })));
  input.addEventListener("change", () => {
    const arm = study.curves.arms.find((one) => study.arms[one] === input.value);
    if (arm === undefined || !kept[arm]) return;
    picked = [...curveArms().filter((one) => one !== arm), arm].slice(-MOST_CURVES);
    input.value = "";
    redrawCurves();
  });
}
