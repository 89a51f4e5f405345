// The panel that trims: a chip a value, two sliders for a factor of many numbers.

const MANY = 12;

function setOff(f, off) {
  state.off[f] = off;
  changed();
}

function chips(factor, f) {
  const buttons = factor.names.map((name, code) => element("button", {
    type: "button", class: "chip", "aria-pressed": "true",
    onclick: () => {
      const off = new Set(state.off[f]);
      if (!off.delete(code)) off.add(code);
      setOff(f, off);
    },
  }, name));
  const box = element("div", { class: factor.names.length > MANY ? "chips many" : "chips" }, ...buttons);
  box.update = () => buttons.forEach((button, code) => button.setAttribute("aria-pressed", String(!state.off[f].has(code))));
  return box;
}

function range(factor, f) {
  const last = factor.names.length - 1;
  const slider = (label, value) => element("input", { type: "range", min: 0, max: last, step: 1, value, "aria-label": `${factor.label}, ${label}` });
  const [low, high, text] = [slider("from", 0), slider("to", last), element("output")];
  const apply = (moved, other) => {
    if (Number(low.value) > Number(high.value)) other.value = moved.value;
    const off = new Set();
    for (let code = 0; code <= last; code += 1) if (code < Number(low.value) || code > Number(high.value)) off.add(code);
    setOff(f, off);
  };
  low.addEventListener("input", () => apply(low, high));
  high.addEventListener("input", () => apply(high, low));
  const box = element("div", { class: "range" }, low, high, text);
  box.update = () => {
    const left = factor.names.map((_, code) => code).filter((code) => !state.off[f].has(code));
    if (left.length) [low.value, high.value] = [left[0], left[left.length - 1]];
    text.textContent = left.length ? `${factor.names[left[0]]} … ${factor.names[left[left.length - 1]]}` : "none";
  };
  return box;
}

const trimBoxes = study.factors.map((factor, f) => {
  const box = factor.numeric && factor.names.length > MANY ? range(factor, f) : chips(factor, f);
  const all = element("button", { type: "button", class: "quiet small", hidden: "", onclick: () => setOff(f, new Set()) }, "all");
  const title = element("span", { class: "factor-name", title: factor.key }, factor.label);
  byId("trim-factors").append(element("div", { class: "factor", role: "group", "aria-label": factor.label },
    element("div", { class: "factor-head" }, title, all), box));
  return { box, all };
});

function updateTrim() {
  let runs = 0, shownRuns = 0, shownArms = 0;
  for (let arm = 0; arm < armCount; arm += 1) {
    runs += study.runs.perArm[arm];
    if (kept[arm]) { shownArms += 1; shownRuns += study.runs.perArm[arm]; }
  }
  const n = (value) => value.toLocaleString("en");
  byId("trim-count").textContent = isTrimmed()
    ? `${n(shownArms)} of ${count(armCount, "arm")}, ${n(shownRuns)} of ${count(runs, "run")} shown`
    : `${count(armCount, "arm")}, ${count(runs, "run")}`;
  byId("side-count").textContent = isTrimmed() ? `Trim: ${n(shownArms)} / ${n(armCount)} arms` : study.factors.length ? "Trim" : "Contents";
  byId("reset").hidden = !isTrimmed();
  root.toggleAttribute("data-trimmed", isTrimmed());
  trimBoxes.forEach(({ box, all }, f) => { box.update(); all.hidden = !state.off[f].size; });
}
