"use strict";
// tables of more rows than this can be filtered
const LONG = 12;
for (const table of document.querySelectorAll("table")) {
  const rows = Array.from(table.tBodies[0] ? table.tBodies[0].rows : []);
  if (rows.length <= LONG) continue;
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "filter these " + rows.length + " rows";
  box.setAttribute("aria-label", box.placeholder);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.parentElement.before(box);
}
function show() {
  for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }
}
window.addEventListener("hashchange", show);
show();
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", () => setTimeout(show));
}
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
