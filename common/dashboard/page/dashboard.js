// Draws the numbers of /runs.json, which it asks for every few seconds. All text goes in as text, never as HTML.
"use strict";

const PERIOD_MS = 3000;
const RUNS_SHOWN = 8; // ticked at first
// Okabe and Ito's colours, which most people with a colour vision deficiency can tell apart.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f"];
const COLOURS_ON_DARK = ["#56b4e9", "#ff8a3d", "#2fc7a0", "#e39bc4", "#f0b840", "#a5d8f5", "#c9a86a", "#b0b0b0"];

const chosen = new Map(); // run name -> is it shown?
const charts = new Map(); // id -> {chart, details, canvas}
let latest = null;

// ---- small things ----

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function format(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
  return value.toLocaleString("en", {maximumSignificantDigits: size >= 1000 ? 7 : 4});
}

const isDark = () => (document.documentElement.dataset.theme
  || (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const colourOf = (index) => (isDark() ? COLOURS_ON_DARK : COLOURS)[index % COLOURS.length];
const lastOf = (list) => (list && list.length ? list[list.length - 1] : null);
const present = (list) => (list || []).filter((value) => value !== null);
const maxOf = (list) => { const values = present(list); return values.length ? Math.max(...values) : null; };
const cssValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- what there is ----

const shownRuns = () => latest.runs.filter((run) => chosen.get(run.name));

function tasksOf(run) {
  const tasks = new Set();
  for (const column of Object.keys(run.evaluations)) {
    const parts = column.match(/^tasks\/(.*)\/mean$/);
    if (parts) tasks.add(parts[1]);
  }
  return [...tasks];
}

// The horizontal positions of a series: learner steps, or hours since its first line.
function positions(series) {
  if (byId("axis").value === "time") {
    const time = series.time || [];
    const first = present(time)[0];
    return time.map((value) => (value === null ? null : (value - first) / 3600));
  }
  return series.learner_step || series.step || [];
}

function points(series, column) {
  const x = positions(series);
  return (series[column] || []).map((y, i) => ({x: x[i], y})).filter((p) => p.x !== null && p.y !== null);
}

// ---- tables ----

function fillRuns() {
  const rows = latest.runs.map((run, index) => {
    const box = element("input", {type: "checkbox", checked: chosen.get(run.name)});
    box.setAttribute("aria-label", `show ${run.name}`);
    box.addEventListener("change", () => { chosen.set(run.name, box.checked); draw(); });
    const swatch = element("span", {className: "swatch"});
    swatch.style.background = colourOf(index);
    const logs = Object.values(run.logs)[0] || {};
    const numbers = [lastOf(run.learner.step), lastOf(run.learner.steps_per_second), lastOf(run.evaluations.return_mean),
      maxOf(run.evaluations.return_mean), logs.mean, logs.max];
    return element("tr", {}, element("td", {}, box), element("td", {}, swatch, run.name),
      element("td", {textContent: run.state}),
      ...numbers.map((value) => element("td", {className: "number", textContent: format(value)})));
  });
  keepFocus(byId("runs"), rows);
}

// Replaces the rows; what had the focus has it again.
function keepFocus(body, rows) {
  const focused = document.activeElement && body.contains(document.activeElement)
    ? document.activeElement.getAttribute("aria-label") : null;
  body.replaceChildren(...rows);
  if (focused) {
    const again = [...body.querySelectorAll("[aria-label]")].find((e) => e.getAttribute("aria-label") === focused);
    if (again) again.focus();
  }
}

function fillProcesses() {
  const rows = [];
  for (const run of shownRuns()) {
    for (const process of run.processes) {
      const bar = process.fraction === null ? "" : element("progress", {max: 1, value: process.fraction});
      if (bar) bar.setAttribute("aria-label", `${process.name}: ${Math.round(100 * process.fraction)} percent`);
      rows.push(element("tr", {}, element("td", {textContent: run.name}), element("td", {textContent: process.name}),
        element("td", {textContent: process.state}), element("td", {}, bar), element("td", {textContent: process.text})));
    }
  }
  byId("processes").replaceChildren(...rows);
}

function fillAlerts() {
  const texts = shownRuns().flatMap((run) => run.alerts.map((text) => `${run.name}: ${text}`));
  const before = [...byId("alerts").children].map((item) => item.textContent);
  byId("alerts-section").hidden = texts.length === 0;
  if (texts.join("\n") !== before.join("\n")) {
    byId("alerts").replaceChildren(...texts.map((textContent) => element("li", {textContent})));
  }
}

// ---- films ----

const films = new Map(); // "run/task" -> {figure, image, button, time, plays}

// The contact sheet, until somebody wants it to move.
function showFilm(film, run, task) {
  const path = [...run.split("/"), task].map(encodeURIComponent).join("/");
  film.image.src = `films/${path}.${film.plays ? "gif" : "png"}?${film.time}`;
  film.button.textContent = film.plays ? "stop" : "play";
  film.button.setAttribute("aria-label", `${film.plays ? "stop" : "play"} the film of ${run}, ${task}`);
}

function makeFilm(run, task) {
  const film = {image: element("img", {width: 320, height: 240}), button: element("button", {type: "button"}), plays: false};
  film.caption = element("figcaption");
  film.figure = element("figure", {}, film.caption, film.image, film.button);
  film.button.addEventListener("click", () => { film.plays = !film.plays; showFilm(film, run, task); });
  return film;
}

// A film that is there already stays in its place, so that it does not begin anew.
function fillFilms() {
  const shown = shownRuns().flatMap((run) => run.films.map(({task, time}) => ({run: run.name, task, time})));
  const figures = shown.map(({run, task, time}) => {
    const key = `${run}/${task}`;
    if (!films.has(key)) films.set(key, makeFilm(run, task));
    const film = films.get(key);
    if (film.time !== time) {
      const made = new Date(1000 * time).toLocaleTimeString();
      film.time = time;
      film.caption.textContent = `${run}, ${task}: ${made}`;
      film.image.alt = `Pictures of an episode of ${task} by a policy of ${run}, ${made}`;
      showFilm(film, run, task);
    }
    return film.figure;
  });
  byId("films-section").hidden = figures.length === 0;
  const before = [...byId("films").children];
  if (before.length !== figures.length || before.some((figure, i) => figure !== figures[i])) {
    byId("films").replaceChildren(...figures);
  }
}

// ---- charts ----

// Lines of one column of the learner's series, one for each run.
function learnerLines(column) {
  return latest.runs.flatMap((run, index) => (chosen.get(run.name) ? [{
    label: run.name, data: points(run.learner, column), borderColor: colourOf(index), backgroundColor: colourOf(index),
    borderWidth: 1.5, pointRadius: 0,
  }] : [])).filter((line) => line.data.length > 0);
}

// The mean return of each task of each run; the quartiles around it where there is only one line; the logs as dashes.
function returnLines() {
  const lines = [];
  const many = shownRuns().reduce((n, run) => n + tasksOf(run).length, 0);
  latest.runs.forEach((run, index) => {
    if (!chosen.get(run.name)) return;
    const tasks = tasksOf(run);
    tasks.forEach((task, k) => {
      const colour = tasks.length > 1 ? colourOf(index + k) : colourOf(index);
      const label = tasks.length > 1 ? `${run.name}, ${task}` : run.name;
      const mean = points(run.evaluations, `tasks/${task}/mean`);
      lines.push({label, data: mean, borderColor: colour, backgroundColor: colour, borderWidth: 2,
        pointRadius: mean.length < 40 ? 2 : 0});
      if (many === 1) {
        const band = {borderWidth: 0, pointRadius: 0, backgroundColor: `${colour}33`};
        lines.push({...band, label: "upper quartile", data: points(run.evaluations, `tasks/${task}/q3`), fill: "+1"});
        lines.push({...band, label: "lower quartile", data: points(run.evaluations, `tasks/${task}/q1`)});
      }
      const logged = run.logs[task];
      if (logged && mean.length) {
        const ends = [mean[0].x, mean[mean.length - 1].x];
        for (const [name, value, dash] of [["mean of the logs", logged.mean, [2, 3]], ["best of the logs", logged.max, [7, 4]]]) {
          lines.push({label: `${label}: ${name}`, data: ends.map((x) => ({x, y: value})), borderColor: colour,
            backgroundColor: colour, borderWidth: 1.5, borderDash: dash, pointRadius: 0});
        }
      }
    });
  });
  return lines;
}

const QUANTILES = ["min", "q1", "median", "q3", "max"];
const WINDOWS = 10;

// The quantiles of one evaluation: `back` evaluations before the last.
function boxOf(run, task, back) {
  return QUANTILES.map((name) => (run.evaluations[`tasks/${task}/${name}`] || []).at(-1 - back) ?? null);
}

// Boxes: quartiles as a bar, median and extremes by the plugin below. The last evaluation of each line, or the last
// ones of a single line.
function boxes() {
  const lines = latest.runs.flatMap((run, index) => (chosen.get(run.name)
    ? tasksOf(run).map((task) => ({run, task, colour: colourOf(index)})) : []));
  const rows = lines.length === 1
    ? Array.from({length: WINDOWS}, (_, k) => WINDOWS - 1 - k).map((back) => ({colour: lines[0].colour,
      label: format((lines[0].run.evaluations.learner_step || []).at(-1 - back)), values: boxOf(lines[0].run, lines[0].task, back)}))
    : lines.map(({run, task, colour}) => ({label: tasksOf(run).length > 1 ? `${run.name}, ${task}` : run.name, colour,
      values: boxOf(run, task, 0)}));
  const whole = rows.filter((row) => row.values.every((value) => value !== null));
  return {
    labels: whole.map((row) => row.label),
    datasets: [{label: "quartiles", data: whole.map((row) => [row.values[1], row.values[3]]),
      backgroundColor: whole.map((row) => `${row.colour}55`), borderColor: whole.map((row) => row.colour), borderWidth: 1.5,
      borderSkipped: false, maxBarThickness: 60, rows: whole}],
  };
}

const whiskers = {
  id: "whiskers",
  afterDatasetsDraw(chart) {
    const {ctx, scales: {y}} = chart;
    chart.getDatasetMeta(0).data.forEach((bar, i) => {
      const {values, colour} = chart.data.datasets[0].rows[i];
      const [min, q1, median, q3, max] = values.map((value) => y.getPixelForValue(value));
      const half = bar.width / 2;
      ctx.save();
      ctx.strokeStyle = colour;
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      for (const [from, to] of [[min, q1], [q3, max]]) { ctx.moveTo(bar.x, from); ctx.lineTo(bar.x, to); }
      for (const at of [min, max]) { ctx.moveTo(bar.x - half / 2, at); ctx.lineTo(bar.x + half / 2, at); }
      ctx.moveTo(bar.x - half, median); ctx.lineTo(bar.x + half, median);
      ctx.stroke();
      ctx.restore();
    });
  },
};

const CHARTS = [
  {id: "returns", title: "Return while learning", data: () => ({datasets: returnLines()})},
  {id: "boxes", title: "Returns of the last evaluations", type: "bar", data: boxes},
  {id: "speed", title: "Learner steps per second", data: () => ({datasets: learnerLines("steps_per_second")}), zero: true},
  {id: "accepted", title: "Accepted share of the logged actions", data: () => ({datasets: learnerLines("accepted")}), zero: true},
  {id: "critic", title: "Loss of the critic", data: () => ({datasets: learnerLines("critic_loss")}), logarithmic: true},
  {id: "value", title: "Mean value of the critic", data: () => ({datasets: learnerLines("value_mean")})},
  {id: "std", title: "Standard deviation of the policy", data: () => ({datasets: learnerLines("policy_std")}), zero: true},
  {id: "wait", title: "Share of time that the learner waits for data", data: () => ({datasets: learnerLines("wait_share")}), zero: true},
];

function chartOptions(spec) {
  const text = cssValue("--text"), soft = cssValue("--soft"), grid = cssValue("--line");
  const axis = {ticks: {color: soft}, grid: {color: grid}};
  const x = spec.type === "bar" ? {...axis} : {...axis, type: "linear",
    title: {display: true, color: soft, text: byId("axis").selectedOptions[0].textContent}};
  const y = {...axis, type: spec.logarithmic ? "logarithmic" : "linear", beginAtZero: Boolean(spec.zero)};
  if (spec.type === "bar") { // the bars alone would not make room for the extremes
    const extremes = spec.made.datasets[0].rows.flatMap((row) => [row.values[0], row.values[4]]);
    if (extremes.length) { y.suggestedMin = Math.min(...extremes); y.suggestedMax = Math.max(...extremes); }
  }
  const datasets = spec.made.datasets;
  return {
    animation: false, responsive: true, maintainAspectRatio: false, parsing: spec.type === "bar", normalized: true,
    interaction: {mode: "nearest", axis: "x", intersect: false},
    scales: {x, y},
    plugins: {
      legend: {display: spec.type !== "bar" && datasets.length > 1,
        labels: {color: text, usePointStyle: true, pointStyle: "line", filter: (item) => !item.text.endsWith("quartile")}},
    },
  };
}

// Words for those who do not see the picture, and for tests.
function describe(spec) {
  if (spec.type === "bar") {
    return spec.made.datasets[0].rows.map((row) => `${row.label}: lowest ${format(row.values[0])}, quartiles ${
      format(row.values[1])} and ${format(row.values[3])}, median ${format(row.values[2])}, highest ${format(row.values[4])}`);
  }
  return spec.made.datasets.filter((line) => line.data.length).map((line) => {
    const first = line.data[0], last = line.data[line.data.length - 1];
    return line.borderDash ? `${line.label}: ${format(last.y)}`
      : `${line.label}: ${format(first.y)} at ${format(first.x)}, now ${format(last.y)} at ${format(last.x)}, ${line.data.length} points`;
  });
}

function makeChart(spec) {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  const details = element("details", {}, element("summary", {textContent: "in words"}), element("ul"));
  const figure = element("figure", {id: `chart-${spec.id}`}, element("figcaption", {textContent: spec.title}),
    element("div", {className: "canvas"}, canvas), details);
  byId("charts").append(figure);
  const chart = new Chart(canvas, {type: spec.type || "line", data: {datasets: []}, options: {},
    plugins: spec.type === "bar" ? [whiskers] : []});
  charts.set(spec.id, {chart, details, canvas, figure});
}

function drawChart(template) {
  const spec = {...template, made: template.data()};
  const empty = (spec.type === "bar" ? spec.made.labels : spec.made.datasets).length === 0;
  if (!charts.has(spec.id)) makeChart(spec);
  const {chart, details, canvas, figure} = charts.get(spec.id);
  figure.hidden = empty;
  if (empty) return;
  chart.data = spec.made;
  chart.options = chartOptions(spec);
  chart.update("none");
  const words = describe(spec);
  canvas.setAttribute("aria-label", `${spec.title}. ${words.join(". ")}`);
  details.querySelector("ul").replaceChildren(...words.map((textContent) => element("li", {textContent})));
}

// ---- the page ----

function draw() {
  fillRuns();
  fillProcesses();
  fillAlerts();
  fillFilms();
  CHARTS.forEach(drawChart);
}

async function look() {
  let wait = PERIOD_MS;
  try {
    if (!document.hidden || latest === null) {
      const answer = await fetch("runs.json", {cache: "no-store"});
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const numbers = await answer.json();
      if (numbers.time === 0) {
        wait = 300; // being read for the first time
      } else {
        latest = numbers;
        for (const run of latest.runs) {
          if (!chosen.has(run.name)) chosen.set(run.name, chosen.size < RUNS_SHOWN);
        }
        draw();
        byId("connection").textContent = latest.runs.length === 0 ? "no runs here yet"
          : `as of ${new Date(1000 * latest.time).toLocaleTimeString()}`;
      }
    }
  } catch (error) {
    byId("connection").textContent = `no answer since ${latest ? new Date(1000 * latest.time).toLocaleTimeString()
      : "the page was opened"}; trying again`;
  }
  setTimeout(look, wait);
}

byId("axis").addEventListener("change", () => latest && draw());
byId("theme").addEventListener("change", () => {
  document.documentElement.dataset.theme = byId("theme").value;
  if (latest) draw();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => latest && draw());
look();
