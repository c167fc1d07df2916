// Curves of what a page is about, drawn with uPlot and drawn again when the page has changed.
(() => {
  "use strict";
  const box = document.getElementById("charts");
  if (!box) return;
  const COLOURS = { light: ["#226344", "#7a5200", "#3d5a98"], dark: ["#74c69d", "#e6bd66", "#9db8ec"] };
  const BAD = { light: "#a4262c", dark: "#f19a9a" };
  const FEW = 30; // values that are drawn as points too: one alone makes no line
  const STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800]; // seconds between two marks
  const since = document.getElementById("since");
  const rest = Number(box.dataset.every || 10) * 1000; // between two looks at the figures, where nothing else says that they changed
  const AT_ONCE_MS = 10000; // and where something does: as long as the engine counts for one point
  let plots = [];
  let drawn = 0;
  let isByDay = false;
  let wanted = 0;

  const isDark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const short = (value) => value == null ? "\u2013" : Math.abs(value) >= 1000 ? `${Math.round(value)}` : `${Number(value.toPrecision(3))}`;

  const clock = (seconds, at) => {
    const words = new Date(seconds * 1000).toISOString(); // in UTC, as every time on these pages
    if (isByDay) return words.slice(5, 10);
    const width = at.length ? at[at.length - 1] - at[0] : 0;
    return width > 90000 ? words.slice(5, 16).replace("T", " ") : words.slice(11, width < 600 ? 19 : 16);
  };

  function plot(chart, at, place) {
    const style = getComputedStyle(document.documentElement);
    const faint = style.getPropertyValue("--faint").trim();
    const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
    const look = isDark() ? "dark" : "light";
    const colour = (line, index) => line.name === "errors" ? BAD[look] : COLOURS[look][index % COLOURS[look].length];
    const isFew = (plot, index) => plot.data[index].filter((value) => value != null).length < FEW;
    const axis = { stroke: faint, grid, ticks: grid, font: "11px system-ui" };
    return new uPlot({
      width: Math.max(place.clientWidth, 200), height: 150, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
      axes: [{ ...axis, space: 70, incrs: STEPS, values: (_, splits) => splits.map((one) => clock(one, at)) }, { ...axis, size: 46, values: (_, values) => values.map(short) }],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      series: [{ label: "UTC", value: (_, seconds) => seconds == null ? "\u2013" : clock(seconds, at) }, ...chart.lines.map((line, index) => ({ label: line.name, stroke: colour(line, index), width: 1.5, spanGaps: true, points: { size: 4, show: isFew }, value: (_, value) => short(value) }))],
    }, [at, ...chart.lines.map((line) => line.values)], place);
  }

  async function draw(again = false) {
    const mine = ++wanted;
    const query = since ? `?since=${encodeURIComponent(since.value)}` : "";
    const answer = await fetch(`${box.dataset.series}${query}`, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok || mine !== wanted) return;
    const { at, by, charts } = await answer.json();
    isByDay = by === "day";
    drawn = Date.now();
    if (!again && plots.length === charts.length) {
      charts.forEach((chart, index) => plots[index].setData([at, ...chart.lines.map((line) => line.values)]));
      return;
    }
    plots.forEach((one) => one.destroy());
    box.replaceChildren();
    const places = charts.map((chart) => {
      const frame = Object.assign(document.createElement("figure"), { className: "chart" });
      frame.append(Object.assign(document.createElement("figcaption"), { textContent: chart.title }));
      const place = document.createElement("div");
      frame.append(place);
      box.append(frame);
      return place;
    });
    plots = charts.map((chart, index) => plot(chart, at, places[index])); // once all are there: with fewer, each has more room
  }

  since?.addEventListener("change", () => draw(true));
  addEventListener("refreshed", () => { if (Date.now() - drawn > AT_ONCE_MS) draw(); });
  addEventListener("themed", () => draw(true));
  addEventListener("resize", () => plots.forEach((one) => one.setSize({ width: Math.max(one.root.parentElement.clientWidth, 200), height: 150 })));
  setInterval(() => document.hidden || Date.now() - drawn < rest || draw(), rest);
  draw(true);
})();
