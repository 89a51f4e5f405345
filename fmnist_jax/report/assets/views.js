// Plots draw when they come into sight, and again when what they show has changed: a page of a large study opens at once.

const views = new Map();
const inSight = new Set();
const CONFIG = {
  displaylogo: false, responsive: true, modeBarButtons: [["toImage"]],
};

const hasWebGL = (() => {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
})();

// draw() returns {traces, layout, note}, or {empty: "why there is nothing to draw"}.
function view(name, draw, { webgl = false } = {}) {
  const place = byId(`plot-${name}`);
  if (place) views.set(place, { name, draw, webgl, stale: true });
}

function drawView(place) {
  const { name, draw, webgl } = views.get(place);
  views.get(place).stale = false;
  const made = webgl && !hasWebGL
    ? { empty: "This plot needs WebGL, which this browser does not offer or has switched off. The PNG of it is in figures/." }
    : keptArms().length ? draw(place) : { empty: "No arm is left: put a value back." };
  byId(`note-${name}`).textContent = made.note ?? "";
  // The plot is hidden, not purged: Plotly may still have a redraw to come.
  place.hidden = Boolean(made.empty);
  place.parentElement.querySelector(".empty")?.remove();
  if (made.empty) {
    place.after(element("p", { class: "empty" }, made.empty));
    return;
  }
  place.style.minHeight = "";
  const config = { ...CONFIG, displayModeBar: innerWidth < 700 || name === "parallel" ? false : "hover", toImageButtonOptions: { filename: `${study.name}-${name}`, scale: 2 } };
  Plotly.react(place, made.traces, baseLayout(made.layout), config);
}

function refresh() {
  for (const [place, one] of views) {
    one.stale = true;
    if (inSight.has(place)) drawView(place);
  }
}

function drawAll() {
  for (const [place, one] of views) if (one.stale) drawView(place);
}

function watch() {
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const place = target.querySelector(".plot");
      if (!isIntersecting) inSight.delete(place);
      else {
        inSight.add(place);
        if (views.get(place).stale) drawView(place);
      }
    }
  }, { rootMargin: "400px 0px" });
  for (const place of views.keys()) observer.observe(place.parentElement);
  addEventListener("beforeprint", drawAll);
}

function groupLegend(factor, groups, shades, there, kind) {
  return groups.map((group, g) => ({ name: `${factor.label} ${groupName(factor, group)}`, colour: shades[g], kind })).filter((_, g) => there.has(g));
}

// A row of coloured names over a plot; Plotly's own legends overlap plots on a phone.
function legend(id, items) {
  const place = byId(id);
  if (!place) return;
  place.replaceChildren(...items.map(({ name, colour: shade, kind = "dot" }) =>
    element("span", { class: "legend-item" }, element("i", { class: `swatch ${kind}`, style: `--shade:${shade}` }), name)));
}
