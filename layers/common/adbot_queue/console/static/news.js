// Rows that a refresh adds above the ones a person is reading wait behind a button, "12 new"; nothing moves under the cursor.
(() => {
const region = document.getElementById("news"), main = document.getElementById("main");
if (!region || !main) return;
const rows = () => [...document.querySelectorAll("#live .grows tbody tr[id]")];
let known = new Set(rows().map((row) => row.id)), through = false;

const reads = (table) => table.matches(":hover") || table.contains(document.activeElement) || table.getBoundingClientRect().top < document.getElementById("bar").offsetHeight;
const look = () => {
  const all = rows(), last = all.findLastIndex((row) => known.has(row.id));
  const fresh = all.slice(0, Math.max(0, last)).filter((row) => !known.has(row.id));
  const wait = fresh.length && !through && (region.firstChild || reads(fresh[0].closest("table"))) ? fresh : [];
  through = false;
  all.forEach((row) => { if (row.hidden !== wait.includes(row)) row.hidden = !row.hidden; });
  known = new Set(all.filter((row) => !row.hidden).map((row) => row.id));
  say(wait.filter((row) => row.querySelector("a[href],time")).length);
};
const say = (count) => {
  if (!count) { if (region.firstChild) region.replaceChildren(); return; }
  const button = region.firstChild ?? region.appendChild(document.createElement("button"));
  if (button.textContent === `${count} new`) return;
  button.type = "button"; button.className = "button small primary"; button.textContent = `${count} new`;
};
const show = () => { through = true; look(); };
region.addEventListener("click", () => {
  const first = rows().find((row) => row.hidden);
  show();
  first?.closest("table").scrollIntoView({block: "nearest"});
  first?.querySelector("a[href],summary")?.focus();
});
document.addEventListener("console:acted", () => { through = true; });
new MutationObserver(look).observe(main, {childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"]});
})();
