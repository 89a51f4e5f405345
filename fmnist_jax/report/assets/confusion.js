// The confusion matrix of an arm, and its worst pairs in words.

const MOST_WRITTEN = 20;
const WORST_PAIRS = 8;

const className = (i) => study.classes[i] ?? String(i);

function worstPairs(matrix, size) {
  const pairs = [];
  for (let t = 0; t < size; t += 1) {
    let total = 0;
    for (let p = 0; p < size; p += 1) total += matrix[t * size + p];
    for (let p = 0; p < size; p += 1) if (p !== t && matrix[t * size + p]) pairs.push({ t, p, n: matrix[t * size + p], total });
  }
  return pairs.sort((a, b) => b.n / b.total - a.n / a.total).slice(0, WORST_PAIRS);
}

function updateConfusionChoice() {
  const select = byId("confusion-arm"), before = select.value;
  const left = study.confusions.filter(({ arm }) => kept[arm]);
  select.replaceChildren(...left.map(({ arm }) => element("option", { value: arm }, study.arms[arm])));
  if (left.some(({ arm }) => String(arm) === before)) select.value = before;
}

view("confusion", (place) => {
  updateConfusionChoice();
  const entry = study.confusions.find(({ arm }) => String(arm) === byId("confusion-arm").value), pairs = byId("pairs");
  pairs.replaceChildren();
  if (!entry) return { empty: "No arm left has a confusion matrix in this page." };
  const matrix = entry.counts, size = Math.round(Math.sqrt(matrix.length)), index = Array.from({ length: size }, (_, i) => i);
  const totals = index.map((t) => index.reduce((sum, p) => sum + matrix[t * size + p], 0));
  const z = index.map((t) => index.map((p) => (totals[t] ? 100 * matrix[t * size + p] / totals[t] : 0)));
  const counts = index.map((t) => index.map((p) => matrix[t * size + p]));
  const names = index.map((i) => plain(shorten(className(i), 14))), narrow = place.clientWidth < 560;
  pairs.append(...worstPairs(matrix, size).map(({ t, p, n, total }) => element("li", {},
    element("b", {}, className(t)), " taken for ", element("b", {}, className(p)), element("span", { class: "muted" }, ` ${n.toLocaleString("en")} of ${total.toLocaleString("en")} (${(100 * n / total).toFixed(1)}%)`))));
  const written = size <= MOST_WRITTEN && !narrow;
  const trace = {
    type: "heatmap", z, x: index, y: index, zmin: 0, zmax: 100, colorscale: cellScale(), xgap: 1, ygap: 1, showscale: false, customdata: counts,
    text: counts.map((line) => line.map((n) => (n ? n.toLocaleString("en") : ""))), texttemplate: written ? "%{text}" : "", textfont: { size: 10.5, color: colour("ink") },
    hovertemplate: "true %{y}, taken for %{x}<br>%{customdata:,} (%{z:.1f}% of the row)<extra></extra>",
  };
  const every = Math.ceil(size / 40), ticks = { tickvals: index.filter((i) => i % every === 0), ticktext: names.filter((_, i) => i % every === 0), showgrid: false, ticks: "" };
  const layout = { height: narrow ? 420 : Math.min(760, 180 + size * 36), xaxis: axis("taken for", { ...ticks, tickangle: -45 }), yaxis: axis("true class", { ...ticks, autorange: "reversed" }) };
  return { traces: [trace], layout, note: study.notices.confusions };
});

function wireConfusion() {
  byId("confusion-arm")?.addEventListener("change", () => drawView(byId("plot-confusion")));
}
