// The study's columns, decoded once. Everything after reads these; nothing writes to them.

const ARRAYS = { f4: Float32Array, i4: Int32Array, i2: Int16Array, u4: Uint32Array, u2: Uint16Array };

function unpack(column) {
  const bytes = Uint8Array.from(atob(column.base64), (c) => c.charCodeAt(0));
  return new ARRAYS[column.kind](bytes.buffer);
}

function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string") return unpack(value);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decode(inner)]));
}

const study = decode(JSON.parse(document.getElementById("study-data").textContent));
const armCount = study.arms.length;
const metricNamed = new Map(study.metrics.map((metric) => [metric.name, metric]));
const factorNamed = new Map(study.factors.map((factor) => [factor.key, factor]));

const byId = (id) => document.getElementById(id);

// The mean of the numbers there are; NaN of none.
function mean(values) {
  let sum = 0, n = 0;
  for (const value of values) if (!Number.isNaN(value)) { sum += value; n += 1; }
  return n ? sum / n : NaN;
}

// Key -> the items that have it, in the order they come.
function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (groups.has(key)) groups.get(key).push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

// Where a factor takes more values than can be told apart, neighbours are put together: [[first, last], ...].
function groupsOf(factor, most) {
  const n = factor.names.length, count = Math.min(n, most), groups = [];
  for (let i = 0; i < count; i += 1) groups.push([Math.floor(i * n / count), Math.floor((i + 1) * n / count) - 1]);
  return groups;
}

function groupName(factor, [first, last]) {
  if (first === last) return factor.names[first];
  return factor.numeric ? `${factor.names[first]} … ${factor.names[last]}` : `${factor.names[first]} and ${last - first} more`;
}

// For each of a factor's values, the group it is in.
function groupIndex(groups) {
  return groups.flatMap(([first, last], g) => Array(last - first + 1).fill(g));
}
