// Light and dark: the colours are the style sheet's; plots take them from there.

const root = document.documentElement;
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];

function isDark() { return root.dataset.theme === "dark"; }
function colour(name) { return getComputedStyle(root).getPropertyValue(`--${name}`).trim(); }
function seriesColours() { return [1, 2, 3, 4, 5, 6, 7, 8].map((i) => colour(`series-${i}`)); }

function fade(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// Better is always the bright end in the dark and the deep end in the light; viridis without the yellow that paper swallows.
function scaleOf(metric) {
  const stops = isDark() ? VIRIDIS.slice(1) : VIRIDIS.slice(0, 7).reverse();
  const ordered = metric && metric.lower ? [...stops].reverse() : stops;
  return ordered.map((c, i) => [i / (ordered.length - 1), c]);
}

// One hue for cells with numbers in them, so that the numbers stay readable.
function cellScale(lower = false) {
  const stops = [colour("cell-low"), colour("cell-mid"), colour("cell-high")];
  if (lower) stops.reverse();
  return stops.map((c, i) => [i / 2, c]);
}

// Colours for the groups of a factor: an order of shades for numbers, distinct hues for names.
function groupColours(factor, n) {
  if (!factor.numeric || n <= 3) return seriesColours().slice(0, n);
  const stops = isDark() ? VIRIDIS.slice(2) : VIRIDIS.slice(0, 7);
  return Array.from({ length: n }, (_, i) => blend(stops, i / (n - 1)));
}

function blend(stops, at) {
  const place = at * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2), part = place - low;
  const mix = [1, 3, 5].map((i) => {
    const [a, b] = [stops[low], stops[low + 1]].map((c) => parseInt(c.slice(i, i + 2), 16));
    return Math.round(a + (b - a) * part).toString(16).padStart(2, "0");
  });
  return `#${mix.join("")}`;
}

function axis(title, more = {}) {
  return {
    title: { text: plain(title), standoff: 12, font: { size: 12, color: colour("muted") } },
    gridcolor: colour("grid"), linecolor: colour("line"), tickcolor: colour("line"),
    tickfont: { color: colour("muted"), size: 11 }, zeroline: false, automargin: true, ...more,
  };
}

function colourBar(title) {
  return {
    title: { text: plain(title), side: "right", font: { size: 11, color: colour("muted") } },
    thickness: 10, len: 0.9, outlinewidth: 0, tickfont: { size: 11, color: colour("muted") }, nticks: 6,
  };
}

function baseLayout(more) {
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 16, r: 16, t: 12, b: 16 }, showlegend: false, modebar: { bgcolor: colour("bare"), color: colour("faint"), activecolor: colour("ink") }, hovermode: "closest",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12 }, align: "left" },
    ...more,
  };
}

// Storage is refused on some pages; the choice then lasts as long as the page.
function setTheme(theme, byReader) {
  root.dataset.theme = theme;
  if (byReader) try { localStorage.setItem("theme", theme); } catch { /* see above */ }
}
