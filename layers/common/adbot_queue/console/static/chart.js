// Reads a chart: the values of a minute under the mouse, or by the arrow keys.
(() => {
const read = (chart, at) => {
  const series = JSON.parse(chart.dataset.chart), count = Object.values(series)[0].length;
  const index = Math.min(count - 1, Math.max(0, at));
  const [hour, minute] = chart.dataset.end.split(":").map(Number), ago = (count - 1 - index) * (chart.dataset.step ?? 1);
  const time = new Date(Date.UTC(2000, 0, 2, hour, minute - ago)).toISOString().slice(11, 16);
  chart.reading = index;
  document.getElementById(chart.getAttribute("aria-describedby")).textContent = `${time} UTC: ${Object.entries(series).map(([name, values]) => `${values[index] ?? "\u2013"} ${name}`).join(", ")}`;
};
document.addEventListener("mousemove", (event) => {
  const plot = event.target.closest?.(".plot"), chart = plot?.closest("[data-chart]");
  if (!chart) return;
  const box = plot.getBoundingClientRect(), count = Object.values(JSON.parse(chart.dataset.chart))[0].length;
  read(chart, Math.round((event.clientX - box.left) / box.width * (count - 1)));
});
document.addEventListener("keydown", (event) => {
  const chart = event.target.closest?.("[data-chart]"), step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!chart || !step || event.target !== chart) return;
  event.preventDefault();
  read(chart, (chart.reading ?? Object.values(JSON.parse(chart.dataset.chart))[0].length) + step);
});
document.addEventListener("htmx:after:swap", () => document.querySelectorAll("[data-chart]").forEach((one) => { if (one.reading !== undefined) read(one, one.reading); }));
})();
