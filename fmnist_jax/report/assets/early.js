// In the head, before anything is painted: light or dark, as the reader chose last, else as the system has it.
try { document.documentElement.dataset.theme = localStorage.getItem("theme") ?? ""; } catch { /* no storage here */ }
if (!document.documentElement.dataset.theme) {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
