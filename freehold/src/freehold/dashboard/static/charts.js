// Curves of what a page is about, drawn with uPlot and drawn again when the page has changed.
(() => {
  "use strict";
  const box = document.getElementById("charts");
  if (!box) return;
  const COLOURS = { light: ["#226344", "#a4262c", "#7a5200"], dark: ["#74c69d", "#f19a9a", "#e6bd66"] };
  const since = document.getElementById("since");
  const rest = Number(box.dataset.every || 10) * 1000; // between two looks at the figures
  let plots = [];
  let drawn = 0;
  let isByDay = false;
  let wanted = 0;

  const isDark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const short = (value) => value == null ? "\u2013" : Math.abs(value) >= 1000 ? `${Math.round(value)}` : `${Number(value.toPrecision(3))}`;

  const two = (number) => String(number).padStart(2, "0");
  const clock = (seconds, at) => {
    const time = new Date(seconds * 1000);
    if (isByDay) return `${time.getUTCMonth() + 1}/${time.getUTCDate()}`;
    const words = `${two(time.getHours())}:${two(time.getMinutes())}`;
    return at.length && at[at.length - 1] - at[0] > 90000 ? `${time.getMonth() + 1}/${time.getDate()} ${words}` : words;
  };

  function plot(chart, at, place) {
    const style = getComputedStyle(document.documentElement);
    const faint = style.getPropertyValue("--faint").trim();
    const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
    const colours = COLOURS[isDark() ? "dark" : "light"];
    const axis = { stroke: faint, grid, ticks: grid, font: "11px system-ui" };
    return new uPlot({
      width: Math.max(place.clientWidth, 200), height: 150, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 0.001) * 1.08] } },
      axes: [{ ...axis, values: (_, splits) => splits.map((one) => clock(one, at)) }, { ...axis, size: 46, values: (_, values) => values.map(short) }],
      series: [{ value: isByDay ? (_, seconds) => seconds == null ? "" : new Date(seconds * 1000).toISOString().slice(0, 10) : "{HH}:{mm}:{ss}" }, ...chart.lines.map((line, index) => ({ label: line.name, stroke: colours[index % 3], width: 1.5, spanGaps: true, points: { size: 4 }, value: (_, value) => short(value) }))],
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
    plots = charts.map((chart) => {
      const frame = Object.assign(document.createElement("figure"), { className: "chart" });
      frame.append(Object.assign(document.createElement("figcaption"), { textContent: chart.title }));
      const place = document.createElement("div");
      frame.append(place);
      box.append(frame);
      return plot(chart, at, place);
    });
  }

  since?.addEventListener("change", () => draw(true));
  addEventListener("refreshed", () => { if (Date.now() - drawn > rest / 5) draw(); });
  addEventListener("themed", () => draw(true));
  addEventListener("resize", () => plots.forEach((one) => one.setSize({ width: Math.max(one.root.parentElement.clientWidth, 200), height: 150 })));
  setInterval(() => document.hidden || draw(), rest);
  draw(true);
})();
