// What a paper's page does: the theme, the contents on a small screen, the command to copy, scatters that turn.

const byId = (id) => document.getElementById(id);
const turning = JSON.parse(byId("turning-data").textContent);

// Ticks of a scale of logarithms.
function decades(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)], ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const step of [1, 2, 5]) if (step * 10 ** power >= low && step * 10 ** power <= high) ticks.push(Number((step * 10 ** power).toPrecision(1)));
  return { tickvals: ticks.map(Math.log10), ticktext: ticks.map(String) };
}

function turn(id) {
  const place = byId(id), { axes, values, title, lower, log } = turning[id];
  place.hidden = false;
  place.parentElement.querySelector(".still").hidden = true;
  const narrow = place.clientWidth < 560, far = narrow ? 1.5 : 1.12;
  const scene = (one) => ({
    ...axis(one.title), title: { text: plain(one.title), font: { size: 12, color: colour("muted") } }, automargin: undefined,
    tickvals: one.ticks, ticktext: one.names.map((name) => plain(shorten(name, 16))), showspikes: false, gridcolor: colour("line"), backgroundcolor: "rgba(0,0,0,0)",
  });
  const said = (i) => [...axes.map((one) => `${plain(one.title)} ${plain(one.names[one.ticks.indexOf(one.at[i])] ?? "")}`), `<b>${plain(title)} ${Number(values[i].toPrecision(5))}</b>`].join("<br>");
  const bar = { ...colourBar(title), ...(log ? decades(values) : {}) };
  const trace = {
    type: "scatter3d", mode: "markers", x: axes[0].at, y: axes[1].at, z: axes[2].at, text: values.map((_, i) => said(i)), hovertemplate: "%{text}<extra></extra>",
    marker: { size: narrow ? 5 : 7, color: log ? values.map(Math.log10) : values, colorscale: scaleOf({ lower }), opacity: 0.95, line: { width: 0 }, showscale: true,
      colorbar: narrow ? { ...bar, orientation: "h", y: -0.02, yanchor: "top", title: { text: plain(title), side: "bottom", font: { size: 11, color: colour("muted") } } } : bar },
  };
  const layout = baseLayout({
    margin: { l: 0, r: 0, t: 0, b: narrow ? 52 : 0 }, uirevision: id,
    scene: { xaxis: scene(axes[0]), yaxis: scene(axes[1]), zaxis: scene(axes[2]), aspectmode: "manual", aspectratio: { x: 1.15, y: 1, z: 0.8 }, camera: { eye: { x: 1.2 * far, y: -1.45 * far, z: 0.7 * far }, center: { x: 0, y: 0, z: -0.1 } } },
  });
  Plotly.react(place, [trace], layout, { displaylogo: false, responsive: true, displayModeBar: false });
}

// The still stays where a browser has no WebGL.
function refresh() {
  for (const id of Object.keys(turning)) {
    try { turn(id); } catch { byId(id).hidden = true; byId(id).parentElement.querySelector(".still").hidden = false; }
  }
}

const hasWebgl = (() => { try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; } })();

function themed(theme, byReader) { setTheme(theme, byReader); if (hasWebgl) refresh(); }
byId("theme").addEventListener("click", () => themed(isDark() ? "light" : "dark", true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => themed(event.matches ? "dark" : "light", false));

const side = byId("side"), toggle = byId("side-toggle");
function open(yes) { side.toggleAttribute("data-open", yes); toggle.setAttribute("aria-expanded", String(yes)); }
toggle.addEventListener("click", () => open(!side.hasAttribute("data-open")));
addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
for (const link of document.querySelectorAll('.toc a')) link.addEventListener("click", () => open(false));

byId("copy")?.addEventListener("click", async ({ target }) => {
  try { await navigator.clipboard.writeText(byId("command").textContent); target.textContent = "Copied"; } catch { getSelection().selectAllChildren(byId("command")); target.textContent = "Selected"; }
  setTimeout(() => { target.textContent = "Copy"; }, 2000);
});

if (hasWebgl) refresh();
