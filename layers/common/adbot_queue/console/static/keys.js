// Keyboard shortcuts: single keys, none that browsers own; `?` lists them, and a switch there turns them off.
(() => {
const KEYS = JSON.parse(document.getElementById("help")?.dataset.keys ?? "{}");
const on = () => { try { return localStorage.getItem("keys") !== "off"; } catch { return true; } };
const rows = () => [...document.querySelectorAll("#live tbody tr:not([hidden])")].filter((row) => row.querySelector("a[href]"));
const move = (by) => {
  const all = rows(), at = all.findIndex((row) => row.contains(document.activeElement));
  all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.querySelector("a[href]").focus();
};
const acts = {
  "?": () => document.getElementById("help").showModal(),
  r: () => window.console_?.refresh(),
  j: () => move(1), k: () => move(-1),
  x: () => document.activeElement.closest("tr")?.querySelector("[data-select]")?.click(),
  e: () => document.querySelector("[data-edit-and-retry]")?.click(),
  "/": () => document.getElementById("search")?.focus(),
};
let prefix = "";
document.addEventListener("keydown", (event) => {
  if (!on() || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,textarea,select,dialog")) return;
  const key = prefix + event.key; prefix = "";
  if (event.key === "g" && key === "g") { prefix = "g "; setTimeout(() => { prefix = ""; }, 1500); return; }
  if (KEYS[key]?.startsWith("/")) location.href = KEYS[key];
  else if (key in KEYS && acts[key]) acts[key](); else return;
  event.preventDefault();
});
const toggle = document.querySelector("[data-keys-on]");
if (toggle) { toggle.checked = on(); toggle.addEventListener("change", () => { try { localStorage.setItem("keys", toggle.checked ? "on" : "off"); } catch { /* for this page only */ } }); }
})();
