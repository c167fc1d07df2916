// What pages do by themselves: follow the engine over one stream, show lines of logs as text, and a few keys.
(() => {
  "use strict";
  const root = document.documentElement;
  const live = document.getElementById("live");
  const log = document.getElementById("log");
  const said = document.getElementById("said");
  const MOST_LINES = 2000;
  const AWAY_MS = 10000; // a page that nobody looks at lets its stream go after this

  // Light and dark.
  document.getElementById("theme")?.addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("freehold-theme", root.dataset.theme);
    dispatchEvent(new CustomEvent("themed"));
  });

  // Keys.
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      const field = document.querySelector(".search input");
      if (field) { event.preventDefault(); field.focus(); }
    }
    if (event.key === "Escape") document.querySelectorAll("details.confirm[open]").forEach((item) => item.removeAttribute("open"));
  });

  // Times go on by themselves.
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const spoken = (seconds) => {
    const [size, unit] = UNITS.find(([size]) => seconds >= size) || [1, "s"];
    return `${Math.round(seconds / size)} ${unit}`;
  };
  const tellTimes = () => document.querySelectorAll("main time[title*='UTC']").forEach((item) => {
    const seconds = (Date.now() - new Date(item.dateTime)) / 1000;
    const words = seconds < -1 ? `in ${spoken(-seconds)}` : `${spoken(Math.max(seconds, 0))} ago`;
    if (item.textContent !== words) item.textContent = words;
  });
  setInterval(() => document.hidden || tellTimes(), 5000);

  // The page fetches itself, and what differs is put in place: open parts stay open, and focus stays where it is.
  let fetching = false;
  let again = false;
  const keepOpen = (name, node) => !(name === "open" && node.tagName === "DETAILS");
  const isBusy = () => document.activeElement.closest("#live, #live-more") && document.activeElement.matches("input, textarea, select");
  async function refresh() {
    if (!live || isBusy()) return;
    if (fetching) { again = true; return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1", Accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (fresh && !isBusy()) {
        Idiomorph.morph(live, fresh.innerHTML, {
          morphStyle: "innerHTML",
          callbacks: {
            beforeAttributeUpdated: keepOpen,
            beforeNodeMorphed: (node) => !(node.nodeType === 1 && node.hasAttribute("data-keep") && node.childElementCount > 0 && !node.querySelector(".try-open")),
          },
        });
        const [more, freshMore] = [document.getElementById("live-more"), page.getElementById("live-more")];
        if (more && freshMore && !isBusy()) Idiomorph.morph(more, freshMore.innerHTML, { morphStyle: "innerHTML", callbacks: { beforeAttributeUpdated: keepOpen } });
        tellTimes();
        dispatchEvent(new CustomEvent("refreshed"));
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it could not be fetched: the stream says when the engine is back
    } finally {
      fetching = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  }

  // The log. Everything in it is somebody's output: it is put there as text, never as markup.
  let after = log ? Number(log.dataset.after) : 0;
  const filter = document.querySelector(".log-filter");
  const follow = document.querySelector(".log-follow");
  const matches = (row) => !filter.value || row.textContent.toLowerCase().includes(filter.value.toLowerCase());
  const span = (kind, text) => Object.assign(document.createElement("span"), { className: kind, textContent: text });
  function row(line) {
    const item = Object.assign(document.createElement("div"), { className: `line ${["out", "err", "engine"].includes(line.source) ? line.source : "out"}` });
    item.append(span("at", line.at));
    if (log.dataset.tasks && /^ta-[A-Za-z0-9]+$/.test(line.task)) {
      const link = Object.assign(document.createElement("a"), { className: "task", textContent: line.task.slice(3, 9), title: line.task });
      link.href = `/dash/containers/${line.task}`;
      item.append(link);
    }
    item.append(span("text", line.text));
    item.hidden = !matches(item);
    return item;
  }
  function addLines({ lines, left_out: leftOut }) {
    log.querySelector(".empty")?.remove();
    if (leftOut) lines.unshift({ at: "", source: "engine", task: "", text: `… ${leftOut} lines were passed over` });
    log.append(...lines.map(row));
    while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
    if (follow.checked) log.scrollTop = log.scrollHeight;
  }
  if (log) {
    log.scrollTop = log.scrollHeight;
    filter.addEventListener("input", () => log.querySelectorAll(".line").forEach((item) => { item.hidden = !matches(item); }));
    follow.addEventListener("change", () => { if (follow.checked) log.scrollTop = log.scrollHeight; });
    log.addEventListener("scroll", () => { follow.checked = log.scrollTop + log.clientHeight > log.scrollHeight - 40; });
  }

  // The stream. It comes back by itself; a page that nobody sees needs none.
  let stream = null;
  function open() {
    if (stream || !(live?.dataset.watch || log?.dataset.query)) return;
    const query = new URLSearchParams(log?.dataset.query || "");
    query.set("watch", live?.dataset.watch || "");
    query.set("after", String(after));
    stream = new EventSource(`/dash/stream?${query}`);
    stream.addEventListener("changed", refresh);
    stream.addEventListener("lines", (event) => {
      after = Number(event.lastEventId) || after;
      addLines(JSON.parse(event.data));
    });
    let wasLost = false;
    stream.addEventListener("open", () => {
      root.classList.remove("lost");
      if (wasLost && said) said.textContent = "The engine is back.";
      wasLost = false;
      refresh(); // something may have happened between the page and its stream
    });
    stream.addEventListener("error", () => {
      wasLost = true;
      root.classList.add("lost");
      if (stream?.readyState === EventSource.CLOSED) { close(); setTimeout(() => { if (!document.hidden) { open(); refresh(); } }, 3000); }
    });
  }
  function close() { stream?.close(); stream = null; }
  let away = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(away);
    if (document.hidden) away = setTimeout(close, AWAY_MS);
    else if (!stream) { open(); refresh(); }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", () => { if (!stream) open(); });
  open();
})();
