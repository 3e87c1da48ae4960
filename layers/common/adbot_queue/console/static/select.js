// Selecting rows: shift-click takes a range, a box takes all that are shown, the bar counts them.
(() => {
const boxes = () => [...document.querySelectorAll("#live tr:not([hidden]) [data-select]")];
let last = null;
const count = () => {
  const chosen = boxes().filter((one) => one.checked).length, bar = document.querySelector("[data-selected]");
  if (!bar) return;
  const text = chosen ? `${chosen} selected` : "";
  if (bar.textContent !== text) bar.textContent = text;
  document.querySelectorAll("[data-when-selected]").forEach((one) => { one.disabled = !chosen; });
  const all = document.querySelector("[data-select-all]"); if (all) { all.checked = chosen > 0 && chosen === boxes().length; all.indeterminate = chosen > 0 && !all.checked; }
};
document.addEventListener("click", (event) => {
  if (event.target.matches("[data-select-all]")) boxes().forEach((one) => { one.checked = event.target.checked; });
  else if (event.target.matches("[data-select]")) {
    const all = boxes(), to = all.indexOf(event.target), from = all.indexOf(last && document.getElementById(last));
    if (event.shiftKey && from >= 0) all.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((one) => { one.checked = event.target.checked; });
    last = event.target.id;
  } else return;
  count();
});
document.addEventListener("htmx:after:swap", count);
count();
})();
