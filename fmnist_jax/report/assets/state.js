// What is shown: the metric, which values of which factors are trimmed away, and the choosers. All of it lives in the
// address, so that a view can be bookmarked and sent.

const state = { metric: study.metrics.length ? study.metrics[0].name : "", off: study.factors.map(() => new Set()) };
let kept = new Uint8Array(armCount).fill(1);

const metricNow = () => metricNamed.get(state.metric);
const summaryNow = () => study.summary[state.metric];
const isTrimmed = () => state.off.some((values) => values.size);
const choosers = () => [...document.querySelectorAll("main select[name]")];
const chosen = (name) => { const select = document.querySelector(`select[name="${name}"]`); return select ? select.value : ""; };

function keptArms() {
  const arms = [];
  for (let arm = 0; arm < armCount; arm += 1) if (kept[arm]) arms.push(arm);
  return arms;
}

// The arms left that have a mean of the metric, the best first.
function rankedArms(metric = metricNow()) {
  if (!metric) return [];
  const means = study.summary[metric.name].mean, sign = metric.lower ? 1 : -1;
  return keptArms().filter((arm) => !Number.isNaN(means[arm])).sort((a, b) => sign * (means[a] - means[b]));
}

function trim() {
  kept = new Uint8Array(armCount).fill(1);
  study.factors.forEach((factor, f) => {
    const off = state.off[f];
    if (off.size) for (let arm = 0; arm < armCount; arm += 1) if (off.has(factor.codes[arm])) kept[arm] = 0;
  });
}

function writeAddress() {
  const words = new URLSearchParams();
  if (study.metrics.length && state.metric !== study.metrics[0].name) words.set("metric", state.metric);
  study.factors.forEach((factor, f) => {
    for (const code of [...state.off[f]].sort((a, b) => a - b)) words.append(`without.${factor.key}`, factor.names[code]);
  });
  for (const select of choosers()) if (select.value !== select.dataset.first) words.set(`view.${select.name}`, select.value);
  const text = words.toString();
  if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

// Names that the study no longer has are passed over: a bookmark outlives an edit of the sweep.
function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  state.metric = metricNamed.has(words.get("metric")) ? words.get("metric") : study.metrics.length ? study.metrics[0].name : "";
  study.factors.forEach((factor, f) => {
    const codes = words.getAll(`without.${factor.key}`).map((name) => factor.names.indexOf(name));
    state.off[f] = new Set(codes.filter((code) => code >= 0));
  });
  for (const select of choosers()) {
    const value = words.get(`view.${select.name}`) ?? select.dataset.first;
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }
  trim();
}
