// What happens when: the page opens, something is chosen, the theme turns.

function changed() {
  trim();
  writeAddress();
  update();
}

function update() {
  for (const select of document.querySelectorAll("[data-metric]")) select.value = state.metric;
  updateTrim();
  tableState.rows = PAGE;
  drawTable();
  refresh();
}

function wireChoosers() {
  for (const select of choosers()) {
    select.dataset.first = select.value;
    select.addEventListener("change", () => { writeAddress(); refresh(); });
  }
  for (const select of document.querySelectorAll("[data-metric]")) {
    select.addEventListener("change", () => {
      state.metric = select.value;
      Object.assign(tableState, { column: "mean", descending: null });
      changed();
    });
  }
  byId("reset").addEventListener("click", () => { state.off = study.factors.map(() => new Set()); changed(); });
  addEventListener("hashchange", () => { readAddress(); update(); });
}

function wireSide() {
  const side = byId("side"), toggle = byId("side-toggle");
  const open = (yes) => { side.toggleAttribute("data-open", yes); toggle.setAttribute("aria-expanded", String(yes)); };
  toggle.addEventListener("click", () => open(!side.hasAttribute("data-open")));
  addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
  // The address holds the view, so contents scroll without touching it.
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      open(false);
      const target = byId(link.getAttribute("href").slice(1));
      target.setAttribute("tabindex", "-1");
      target.focus({ preventScroll: true });
      target.scrollIntoView();
    });
  }
}

function wireTheme() {
  byId("theme").addEventListener("click", () => { setTheme(isDark() ? "light" : "dark", true); refresh(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => { setTheme(event.matches ? "dark" : "light", false); refresh(); });
}

function wireCopy() {
  const button = byId("copy");
  button?.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("command").textContent);
      button.textContent = "Copied";
    } catch {  // no clipboard on a page opened from a file in some browsers: select it, to be copied by hand
      getSelection().selectAllChildren(byId("command"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

wireTheme();
wireChoosers();
wireSide();
wireTable();
wireCurves();
wireConfusion();
wireCopy();
readAddress();
update();
watch();
