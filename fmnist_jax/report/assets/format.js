// How numbers are written; words.py does the same for what is written once.

const NOTHING = "–";

// A metric's value: percentages with two decimals, anything else with four digits.
function show(value, share) {
  if (value === undefined || value === null || !Number.isFinite(value)) return NOTHING;
  if (share) return (100 * value).toFixed(2);
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1)) return value.toFixed(4);
  if (size >= 1e3 && size < 1e9) return Math.round(value).toLocaleString("en");
  return Number(value.toPrecision(4)).toString();
}

function showInterval(low, high, share) {
  return Number.isFinite(low) && Number.isFinite(high) ? `${show(low, share)} – ${show(high, share)}` : NOTHING;
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const unit = (metric) => metric.label + (metric.share ? " (%)" : "");
const scaled = (value, metric) => (metric.share ? 100 * value : value);

// Long names lose their middle, where arms of one sweep are most alike.
function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, Math.ceil(most * 0.6) - 1)}…${text.slice(-Math.floor(most * 0.4))}`;
}

// Plotly reads a little HTML in its texts; names are only names.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Names of arms may break after a comma.
function breakable(name) { return name.split(/(?<=,)/).flatMap((part) => [part, document.createElement("wbr")]); }

function save(name, text, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
