// Refreshes the live region: paced, never while a person is in the middle of something, and backing off when it fails.
(() => {
const $ = (selector, root = document) => root.querySelector(selector);
const body = document.body, TEXT = "input:not([type=hidden],[type=checkbox],[type=radio]),textarea";
const kept = {get: (name) => { try { return localStorage.getItem(name); } catch { return null; } }, set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* kept for this page only */ } }};
const interval = $("[data-interval]"), stale = $("#stale"), word = $("[data-live-word]");
const AGAIN = 2000; // after an action: until then indexes and counts, which follow the rows, have its effect as well
let failures = 0, good = Date.now(), due = 0, running = false, blocked = false, acted = false, again = false;

const seconds = () => Number(interval.value);
const unsent = () => [...document.querySelectorAll(TEXT)].some((one) => one.value !== one.defaultValue && !one.closest("[data-keep-ticking]"));
const busy = () => document.hidden || $("dialog[open]") || $("[data-select]:checked") || unsent();
const plan = () => { due = Date.now() + (again && !failures ? AGAIN : Math.min(60, seconds() * 2 ** Math.max(0, failures - 1)) * 1000 * (failures ? 0.8 + Math.random() * 0.4 : 1)); };
const old = () => Number($("#live").dataset.old ?? 0);
const say = (state) => {
  if (body.dataset.live !== state) { body.dataset.live = state; word.textContent = {on: "Live", stale: "Stale", off: "Off"}[state]; }
  stale.hidden = state !== "stale";
  if (state === "stale") $("[data-stale-text]").textContent = `Figures are ${Math.round((old() + Date.now() - good) / 1000)} s old: ${failures ? "the server does not answer" : "they cannot be gathered"}. Next try in ${Math.max(0, Math.round((due - Date.now()) / 1000))} s.`;
};
const tick = () => { running = true; blocked = false; plan(); htmx.trigger("#live", "tick"); };
const step = () => {
  if (!seconds()) return say("off");
  say(old() || (failures && Date.now() - good > seconds() * 1000) ? "stale" : "on");
  if (busy()) { blocked = true; return; }
  if (!running && (blocked || Date.now() >= due)) tick();
};
document.addEventListener("htmx:config:request", ({detail: {ctx}}) => {
  if (ctx.sourceElement?.id !== "live") return;
  ctx.request.headers["X-Have"] = [...document.querySelectorAll("[data-digest]")].map((one) => one.dataset.digest).join(" ");
  if (acted || again) { ctx.request.headers["X-Acted"] = "1"; again = acted; acted = false; }
});
const now = () => { failures = 0; if (!running) tick(); };

document.addEventListener("htmx:finally:request", ({detail: {ctx}}) => {
  const status = ctx.response?.status ?? 0;
  if (ctx.sourceElement?.id !== "live") { if (ctx.request.method !== "GET" && status) answered(ctx, status); return; }
  if (status === 200 || status === 304) { failures = 0; good = Date.now(); } else { failures = Math.min(failures + 1, 6); again ||= "X-Acted" in ctx.request.headers; }
  plan(); setTimeout(() => { running = false; if (acted) tick(); else step(); }); // htmx drops a request that begins before this one is over
});

const answered = (ctx, status) => {
  if (ctx.hx?.redirect) return; // the page is left; an open dialog keeps it from refreshing
  if (status < 300) ctx.sourceElement?.closest("dialog")?.close();
  if (status < 300 || !ctx.sourceElement?.closest("dialog")) $("#answer").focus({preventScroll: true});
  const undo = $("[data-undo]"); if (undo) setTimeout(() => undo.isConnected && undo.remove(), 10000);
  if (status < 300) { acted = true; document.dispatchEvent(new Event("console:acted")); now(); }
};

if (interval) {
  interval.value = kept.get("interval") ?? (navigator.connection?.saveData ? "0" : "5");
  interval.addEventListener("change", () => { kept.set("interval", interval.value); failures = 0; plan(); step(); });
  plan(); setInterval(step, 250);
  document.addEventListener("visibilitychange", step);
  document.addEventListener("close", (event) => { event.target.querySelectorAll?.("form").forEach((one) => { one.reset(); if (one.dataset.confirm) arm(one); }); step(); }, true);
  window.console_ = {refresh: now};
}

// A session that ended keeps what was typed: it is put back when the same page opens again after the sign-in.
const DRAFT = "draft";
document.addEventListener("htmx:before:response", ({detail: {ctx}}) => {
  const form = ctx.response.status === 401 && ctx.sourceElement?.closest?.("form");
  if (!form) return;
  const fields = [...form.querySelectorAll(TEXT)].filter((one) => one.name && one.type !== "password").map((one) => [one.name, one.value]);
  try { sessionStorage.setItem(DRAFT, JSON.stringify({page: location.pathname + location.search, form: form.id, fields})); } catch { /* lost with the page */ }
});
try {
  const draft = JSON.parse(sessionStorage.getItem(DRAFT));
  const form = draft?.page === location.pathname + location.search && document.getElementById(draft.form);
  if (form) {
    sessionStorage.removeItem(DRAFT);
    form.closest("dialog")?.showModal();
    for (const [name, value] of draft.fields) form.elements[name].value = value;
  }
} catch { /* nothing was kept */ }

// Dialogs, the answer, the menu on phones, the drawer.
let opener = null;
document.addEventListener("click", (event) => {
  const on = (name) => event.target.closest(`[data-${name}]`);
  let hit;
  if ((hit = on("opens")) && $(`dialog#${hit.dataset.opens}`)) { event.preventDefault(); opener = hit.id || null; $(`dialog#${hit.dataset.opens}`).showModal(); } else
  if ((hit = on("closes")) && hit.closest("dialog")) { event.preventDefault(); hit.closest("dialog").close(); } else
  if (on("closes-answer")) $("#answer").replaceChildren(); else
  if ((hit = on("menu"))) { const open = $("#nav").toggleAttribute("data-open"); hit.setAttribute("aria-expanded", open); if (open) $("#nav a").focus(); } else
  if ((hit = on("drawer")) && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); drawer(hit.href, hit.id, true); } else
  if (on("closes-drawer")) { event.preventDefault(); close(); }
});
let from = null, list = location.href;
const drawer = (href, id, push) => {
  from = id || from;
  htmx.ajax("GET", href, {target: "#drawer", swap: "innerHTML", headers: {"X-Part": "drawer"}}).then(() => { if (push) history.pushState({drawer: true}, "", href); $("#drawer a, #drawer button")?.focus(); });
};
const empty = () => { $("#drawer").replaceChildren(); document.getElementById(from)?.focus(); };
const close = () => { if (history.state?.drawer) { history.pushState({}, "", list); empty(); } else if ($("#drawer").children.length) location.href = $("[data-closes-drawer]").href; };
addEventListener("popstate", () => { if (history.state?.drawer) drawer(location.href); else if ($("#drawer")?.children.length) empty(); });

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-confirm]");
  if (form) arm(form);
});
const arm = (form) => form.querySelector(".dialog-foot button:not([data-closes])").setAttribute("aria-disabled", form.elements.confirm.value !== form.dataset.confirm);
document.querySelectorAll("form[data-confirm]").forEach(arm);
document.querySelectorAll("dialog[open]:not(:modal)").forEach((one) => { one.close(); one.showModal(); });
document.addEventListener("submit", (event) => { if ($("[aria-disabled=true]:focus", event.target) || event.submitter?.ariaDisabled === "true") { event.preventDefault(); event.stopImmediatePropagation(); } }, true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !$("dialog[open]")) { if ($("#nav[data-open]")) $("[data-menu]").click(); else if ($("#drawer")?.children.length) close(); else $("#answer")?.replaceChildren(); } });
})();
