// All of this only helps: without it everything is there to read.
"use strict";
for (const box of document.querySelectorAll("[data-filter]")) {
  box.closest("form").hidden = false;
  const rows = document.querySelectorAll(box.dataset.filter);
  const said = document.getElementById("found");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    if (said) said.textContent = `${shown} of ${rows.length}`;
  });
}
for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
const fit = document.getElementById("fit");
if (fit) {
  fit.hidden = false;
  const size = (bytes) => (bytes / 2 ** 30).toFixed(1) + " GiB";
  const need = (row, context) => {
    const [weights, fixed, most, ...groups] = row.dataset.need.split(" ").map(Number);
    let cache = 0;
    for (let at = 0; at < groups.length; at += 4) {
      const [layers, values, window, ratio] = groups.slice(at, at + 4);
      cache += layers * values * 2 * (window ? Math.min(context, window + 512) : Math.ceil(context / ratio));
    }
    return [weights + fixed + cache, most && context > most ? most : 0];
  };
  const update = () => {
    const memory = Number(fit.elements.memory.value) * 2 ** 30;
    const context = Number(fit.elements.context.value);
    document.querySelector(".fit th:nth-child(4)").textContent = `${fit.elements.memory.value} GiB, ${context} tokens`;
    for (const row of document.querySelectorAll("[data-need]")) {
      const [bytes, tooLong] = need(row, context);
      const cell = row.querySelector(".answer");
      const fits = bytes <= memory && !tooLong;
      cell.textContent = tooLong ? `takes at most ${tooLong} tokens` : (fits ? "✓ fits, " : "✗ needs ") + size(bytes);
      cell.className = "answer " + (tooLong ? "warn" : fits ? "good" : "bad");
    }
  };
  fit.addEventListener("input", update);
  update();
}
