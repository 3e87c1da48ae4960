// Puts a chosen or dropped file into the text of its form, so that it is sent, and can be read before.
(() => {
const take = async (form, file) => {
  if (!file) return;
  const hint = form.querySelector("[data-file-hint]");
  if (file.size > 3_500_000) { hint.textContent = `${file.name} has ${(file.size / 1e6).toFixed(1)} MB, the limit is 3.5 MB: split it.`; return; }
  const text = await file.text();
  form.elements.sessions.value = text;
  hint.textContent = `${file.name}: ${text.split("\n").filter((line) => line.trim()).length.toLocaleString("en")} lines, ${Math.ceil(file.size / 1000).toLocaleString("en")} kB.`;
};
document.addEventListener("change", (event) => { if (event.target.matches("[data-file]")) take(event.target.form, event.target.files[0]); });
const over = (event) => event.target.closest?.("[data-upload]");
document.addEventListener("dragover", (event) => { if (over(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => { const form = over(event); if (form && event.dataTransfer.files.length) { event.preventDefault(); take(form, event.dataTransfer.files[0]); } });
document.addEventListener("htmx:after:swap", () => { document.querySelector("#upload-result[tabindex]:not([data-seen])")?.focus(); document.querySelector("#upload-result[tabindex]")?.setAttribute("data-seen", ""); });
})();
