"use strict";

// Figures: drawn by plotly from the JSON beside them, in the colours of the page.

const narrow = matchMedia("(max-width: 600px)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = {
  displaylogo: false,
  responsive: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  // By default plotly offers to send the data to its makers.
  showSendToCloud: false,
  plotlyServerURL: "",
};

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(name).trim();
}

// On a phone there is no room for the names of 2 and 5 beside the powers of ten.
function thinned(layout) {
  const { dtick, range } = layout.xaxis;
  return dtick === "D2" && range[1] - range[0] > 1.5 ? { ...layout, xaxis: { ...layout.xaxis, dtick: 1 } } : layout;
}

function themed(layout) {
  const colour = colours();
  if (narrow.matches) layout = thinned(layout);
  const card = colour("--card");
  return {
    ...layout,
    font: { color: colour("--text"), size: narrow.matches ? 11 : 12, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: card, bordercolor: colour("--edge"), font: { color: colour("--text") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--accent") },
    annotations: layout.annotations.map((each) => ({ ...each, bgcolor: card, opacity: 0.9, borderpad: 1 })),
    // A finger on a figure scrolls the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  };
}

function draw(figure) {
  const plot = figure.querySelector(".plot");
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
  Plotly.newPlot(plot, data, themed(layout), config);
  plot.layoutAsGiven = layout;
  for (const button of figure.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(visible));
      const traces = button.dataset.traces.split(" ").map(Number);
      Plotly.restyle(plot, { visible }, traces);
    });
  }
}

const figures = [...document.querySelectorAll("figure")];
const waiting = figures.filter((figure) => !figure.closest("details"));

function drawNext() {
  const figure = waiting.shift();
  if (!figure) {
    document.documentElement.dataset.ready = "yes";
    return;
  }
  draw(figure);
  setTimeout(drawNext);
}

for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => {
    if (details.open) details.querySelectorAll("figure").forEach(draw);
  });
}

dark.addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".plot[data-drawn]")) {
    const { font, hoverlabel, modebar, annotations } = themed(plot.layoutAsGiven);
    Plotly.relayout(plot, { font, hoverlabel, modebar, annotations });
  }
});

// Buttons that copy what stands beside them.

function copied(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done ? Promise.resolve() : Promise.reject(new Error("not allowed"));
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => {
    copied(button.parentElement.querySelector("code").textContent)
      .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select it by hand"; })
      .then(() => setTimeout(() => { button.textContent = "Copy"; }, 1500));
  });
}

// The table of trials: sorted by its heads, filtered by words and by how a trial ended.

function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) return cell.textContent.toLowerCase();
  return cell.dataset.value === "" ? Infinity : Number(cell.dataset.value);
}

function sortBy(head) {
  const table = head.closest("table");
  const heads = [...head.parentElement.cells];
  const column = heads.indexOf(head);
  const descending = head.getAttribute("aria-sort") === "ascending";
  heads.forEach((each) => each.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column), row]);
  // What has no value stays at the end.
  rows.sort(([one], [other]) => {
    if (one === other) return 0;
    if (one === Infinity || other === Infinity) return one === Infinity ? 1 : -1;
    return (one < other) === descending ? 1 : -1;
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function filter(section) {
  const words = section.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  const outcome = section.querySelector("select").value;
  let shown = 0;
  for (const row of section.querySelector("tbody").rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (outcome && row.dataset.outcome !== outcome) || !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  section.querySelector("output").textContent = `${shown} trial${shown === 1 ? "" : "s"}`;
}

for (const head of document.querySelectorAll(".sortable th")) {
  head.querySelector("button").addEventListener("click", () => sortBy(head));
}

for (const section of document.querySelectorAll("section:has(.filter)")) {
  section.querySelector("input").addEventListener("input", () => filter(section));
  section.querySelector("select").addEventListener("change", () => filter(section));
}

drawNext();
