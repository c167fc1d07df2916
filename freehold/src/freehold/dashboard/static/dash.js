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

  // What is new of the page comes over its stream, and what differs is put in place: open parts stay open, and focus stays where it is.
  // While someone types in it, or nobody sees it, it waits; only the newest does.
  let content = null;
  const keepOpen = (name, node) => !(name === "open" && node.tagName === "DETAILS");
  const isFilledIn = (node) => node.matches("input, textarea") && node.value !== node.defaultValue;
  const isInUse = (node) => node.hasAttribute("data-keep") && node.childElementCount > 0 && !node.querySelector(".try-open");
  const isKept = (node) => node.nodeType === 1 && (isFilledIn(node) || isInUse(node));
  const isTyping = () => document.activeElement?.closest("#live, #live-more") && document.activeElement.matches("input, textarea, select");
  function show() {
    if (content === null || document.hidden || isTyping()) return;
    const page = new DOMParser().parseFromString(content, "text/html");
    content = null;
    for (const id of ["live", "live-more"]) {
      const [shown, fresh] = [document.getElementById(id), page.getElementById(id)];
      if (!shown || !fresh) continue;
      Idiomorph.morph(shown, fresh.innerHTML, { morphStyle: "innerHTML", callbacks: { beforeAttributeUpdated: keepOpen, beforeNodeMorphed: (node) => !isKept(node) } });
    }
    tellTimes();
    dispatchEvent(new CustomEvent("refreshed"));
  }
  document.addEventListener("focusout", () => setTimeout(show));

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
    query.set("page", location.pathname + location.search);
    query.set("watch", live?.dataset.watch || "");
    query.set("after", String(after));
    stream = new EventSource(`/dash/stream?${query}`);
    stream.addEventListener("content", (event) => { content = JSON.parse(event.data); show(); });
    stream.addEventListener("lines", (event) => {
      after = Number(event.lastEventId) || after;
      addLines(JSON.parse(event.data));
    });
    let wasLost = false;
    stream.addEventListener("open", () => {
      root.classList.remove("lost");
      if (wasLost && said) said.textContent = "The engine is back.";
      wasLost = false;
    });
    stream.addEventListener("error", () => {
      wasLost = true;
      if (said && !root.classList.contains("lost")) said.textContent = "The engine does not answer.";
      root.classList.add("lost");
      if (stream?.readyState === EventSource.CLOSED) { close(); setTimeout(comeBack, 3000); }
    });
  }
  function close() { stream?.close(); stream = null; }
  async function comeBack() { // it was refused: who has to log in is led there
    const answer = await fetch(location.href, { method: "HEAD", headers: { Accept: "application/json" } }).catch(() => null);
    if (answer?.status === 401) location.reload();
    else if (!document.hidden) open();
  }
  let away = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(away);
    if (document.hidden) { away = setTimeout(close, AWAY_MS); return; }
    open();
    show();
  });
  document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone they are a row to scroll
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
})();
