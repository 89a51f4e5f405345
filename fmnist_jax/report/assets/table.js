// The summary: a row an arm left, sorted by any column, as many rows as are asked for.

const PAGE = 20;
const STANDING = ["best", "not distinguishable from the best", ""];
const tableState = { column: "mean", descending: null, rows: PAGE };

function columns() {
  const metric = metricNow(), s = summaryNow(), share = metric.share;
  const plainColumn = (key, title) => ({ key, title, value: (arm) => s[key][arm], cell: (arm) => show(s[key][arm], share) });
  const anyDiverged = s.diverged.some((n) => n > 0);
  return [
    { key: "arm", title: "Arm", text: true, value: (arm) => arm, cell: (arm) => study.arms[arm] },
    { key: "mean", title: "Mean ± sd", value: (arm) => s.mean[arm], cell: (arm) => `${show(s.mean[arm], share)} ± ${show(s.sd[arm], share)}` },
    { key: "low", title: "95% interval", value: (arm) => s.low[arm], cell: (arm) => showInterval(s.low[arm], s.high[arm], share),
      hint: (arm) => `bootstrap (BCa): ${showInterval(s.bca_low[arm], s.bca_high[arm], share)}` },
    plainColumn("median", "Median"), plainColumn("iqm", "IQM"),
    { key: "n", title: "n", value: (arm) => s.n[arm], cell: (arm) => s.n[arm].toLocaleString("en") },
    ...(anyDiverged ? [{ key: "diverged", title: "Diverged", value: (arm) => s.diverged[arm], cell: (arm) => s.diverged[arm] ? String(s.diverged[arm]) : "" }] : []),
    plainColumn("best", "Best"), plainColumn("worst", "Worst"),
    ...study.factors.map((factor) => ({
      key: `factor:${factor.key}`, title: factor.label, text: !factor.numeric, hint: () => factor.key,
      value: (arm) => factor.codes[arm], cell: (arm) => factor.names[factor.codes[arm]] ?? NOTHING,
    })),
  ];
}

// The first click on a column shows its best end: high accuracies, low losses, small values.
function firstDescending(column) {
  const metric = metricNow();
  if (["arm", "sd"].includes(column) || column.startsWith("factor:")) return false;
  return ["n", "diverged"].includes(column) ? true : !metric.lower;
}

function sortedArms(column) {
  const sign = (tableState.descending ?? firstDescending(column.key)) ? -1 : 1;
  return keptArms().map((arm) => [column.value(arm), arm]).sort(([a, i], [b, j]) => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || i - j;  // no value: always last
    return sign * (a - b) || i - j;
  }).map(([, arm]) => arm);
}

function drawTable() {
  const table = byId("summary");
  if (!metricNow()) { table.replaceChildren(element("caption", {}, "No metric yet.")); return; }
  const every = columns();
  const column = every.find((one) => one.key === tableState.column) ?? every[1];
  const descending = tableState.descending ?? firstDescending(column.key);
  const arms = sortedArms(column), asked = document.activeElement?.dataset?.column;
  table.tHead.replaceChildren(element("tr", {}, ...every.map((one) => heading(one, one === column, descending))));
  table.tBodies[0].replaceChildren(...arms.slice(0, tableState.rows).map((arm) => row(every, arm)));
  if (asked) [...table.querySelectorAll("button")].find((button) => button.dataset.column === asked)?.focus();
  const left = arms.length - tableState.rows;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${Math.min(left, 10 * PAGE)} more of ${arms.length.toLocaleString("en")}`;
  byId("note-summary").textContent = [
    `${metricNow().label}${metricNow().share ? ", in percent" : ""}; ${metricNow().lower ? "lower" : "higher"} is better.`,
    "IQM: mean of the middle half.", study.standing.includes(0) && `Orange dot: the best arm; blue: not distinguishable from it in ${metricNamed.get(study.metric)?.label ?? "the study’s metric"}.`, study.notices.metrics, study.notices.arms,
  ].filter(Boolean).join(" ");
}

function heading(one, isSorted, descending) {
  const button = element("button", { type: "button", "data-column": one.key, onclick: () => {
    tableState.descending = tableState.column === one.key ? !(tableState.descending ?? firstDescending(one.key)) : null;
    tableState.column = one.key;
    drawTable();
  } }, one.title);
  return element("th", { scope: "col", class: one.text && "text", "aria-sort": isSorted ? (descending ? "descending" : "ascending") : "none" }, button);
}

function row(every, arm) {
  const standing = STANDING[study.standing[arm]];
  const cells = every.map((one) => {
    const hint = one.hint?.(arm);
    if (one.key !== "arm") return element("td", { class: one.text && "text", title: hint }, one.cell(arm));
    const mark = standing ? [element("i", { class: `standing s${study.standing[arm]}`, title: standing, role: "img", "aria-label": standing })] : [];
    return element("th", { scope: "row", class: "text arm" }, ...mark, ...breakable(one.cell(arm)));
  });
  return element("tr", {}, ...cells);
}

// Every arm left, with all digits, in the order of the table.
function summaryCsv() {
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const s = summaryNow(), statistics = ["n", "diverged", "mean", "sd", "median", "iqm", "low", "high", "bca_low", "bca_high", "best", "worst"];
  const head = ["arm", ...study.factors.map((factor) => factor.key), "metric", ...statistics];
  const column = columns().find((one) => one.key === tableState.column) ?? columns()[1];
  const rows = sortedArms(column).map((arm) => [
    study.arms[arm], ...study.factors.map((factor) => factor.names[factor.codes[arm]] ?? ""), state.metric,
    ...statistics.map((name) => (Number.isFinite(s[name][arm]) ? String(Number(s[name][arm].toPrecision(7))) : "")),
  ]);
  return [head, ...rows].map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function wireTable() {
  byId("more").addEventListener("click", () => { tableState.rows += 10 * PAGE; drawTable(); });
  byId("download").addEventListener("click", () => save(`${study.name}-${state.metric}.csv`, summaryCsv(), "text/csv"));
}
