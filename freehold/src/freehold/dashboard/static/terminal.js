// A shell in the page's container, in a terminal. Nothing of it is loaded or started before somebody asks for it.
(() => {
  "use strict";
  const box = document.getElementById("terminal");
  if (!box) return;
  const [place, openButton, closeButton, tools, reader, said] =
    [".terminal-place", ".terminal-open", ".terminal-close", ".terminal-tools", ".terminal-reader", ".terminal-said"].map((name) => box.querySelector(name));
  const PIECE = 4096; // bytes of keys in one message; the next one goes when the shell has taken it
  const TELL = 64 * 1024; // bytes after which is told what was drawn: a quarter of what may be on its way
  const ENDINGS = { 1012: "The engine has stopped, and the shell with it." };
  const LOST = "There is no connection to the engine any more, or it refused one. Load the page again.";
  const COLOURS = {
    light: ["#3b4340", "#a4262c", "#1d6b42", "#7a5200", "#1f5a99", "#7d3c98", "#0f6674", "#5d6661", "#535b57", "#c0392b", "#22824f", "#8f6400", "#2a6fb8", "#9548b4", "#147d8d", "#1d211f"],
    dark: ["#5c6661", "#f19a9a", "#7fd1a5", "#e6bd66", "#8ab8f0", "#d3a4e8", "#7fd0dc", "#c4ccc8", "#8b9590", "#ffb3b3", "#9be5bd", "#f5d187", "#aacdfa", "#e3bff3", "#9fe3ec", "#ffffff"],
  };
  const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
  let term = null;

  // xterm writes <style> elements and style attributes, which the pages' Content-Security-Policy forbids. What they say is put where scripts may put
  // it: into style sheets of the document, and properties of elements.
  function sheet() {
    const rules = new CSSStyleSheet();
    const stand = document.createElement("template");
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, rules];
    Object.defineProperty(stand, "textContent", { set: (text) => rules.replaceSync(text) });
    stand.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== rules);
      Element.prototype.remove.call(stand);
    };
    return stand;
  }
  function withSheets(work) {
    document.createElement = function (name, ...rest) { return name === "style" ? sheet() : Document.prototype.createElement.call(document, name, ...rest); };
    try { work(); } finally { delete document.createElement; }
  }
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };

  const isDark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    const colours = COLOURS[isDark() ? "dark" : "light"];
    const named = NAMES.flatMap((name, index) => [[name, colours[index]], [`bright${name[0].toUpperCase()}${name.slice(1)}`, colours[index + 8]]]);
    return { background: of("--sunk"), foreground: of("--text"), cursor: of("--accent"), cursorAccent: of("--sunk"), selectionBackground: of("--accent-soft"), ...Object.fromEntries(named) };
  }

  function tell(words) { said.textContent = words; }
  function show(isOpen) {
    box.classList.toggle("is-open", isOpen);
    openButton.hidden = isOpen;
    tools.hidden = !isOpen;
  }

  class Link {
    // What goes between the shell and what is drawn of it. `onEnd` is told once, in words.
    constructor(path, csrf, size, { onOutput, onEnd }) {
      this.waiting = [];
      this.isTaken = true;
      this.drawn = this.told = 0;
      this.socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${path}`);
      this.socket.binaryType = "arraybuffer";
      this.socket.addEventListener("open", () => this.say({ csrf, ...size() }));
      this.socket.addEventListener("message", ({ data }) => {
        if (typeof data !== "string") { onOutput(new Uint8Array(data)); return; }
        const message = JSON.parse(data);
        if ("end" in message) this.end = message.end;
        if ("written" in message) { this.isTaken = true; this.give(); }
      });
      this.socket.addEventListener("close", ({ code }) => onEnd(this.end ?? ENDINGS[code] ?? LOST));
    }
    say(message) { if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message)); }
    type(bytes) { this.waiting.push(...bytes); this.give(); }
    give() {
      if (!this.isTaken || !this.waiting.length || this.socket.readyState !== WebSocket.OPEN) return;
      this.isTaken = false;
      this.socket.send(new Uint8Array(this.waiting.splice(0, PIECE)));
    }
    drew(count) {
      this.drawn += count;
      if (this.drawn - this.told >= TELL) { this.told = this.drawn; this.say({ drawn: this.drawn }); }
    }
    close() { this.socket.close(); }
  }

  async function start() {
    openButton.disabled = true;
    tell("The terminal is opened.");
    try {
      const base = "/dash/static/vendor/";
      const [{ Terminal }, { FitAddon }] = await Promise.all([import(`${base}xterm.mjs`), import(`${base}xterm-addon-fit.mjs`)]);
      run(new Terminal({
        cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono").trim(),
        fontSize: 13, minimumContrastRatio: 4.5, scrollback: 5000, screenReaderMode: reader.checked, theme: theme(), linkHandler: { activate: () => {} },
      }), new FitAddon());
    } catch (error) {
      tell("The terminal could not be loaded. Load the page again.");
      throw error;
    } finally {
      openButton.disabled = false;
    }
  }

  function run(terminal, fit) {
    const encoder = new TextEncoder();
    const again = new AbortController();
    term = terminal;
    show(true);
    terminal.loadAddon(fit);
    withSheets(() => terminal.open(place));
    terminal.textarea.setAttribute("aria-describedby", "terminal-help");
    fit.fit();
    const size = () => ({ rows: terminal.rows, columns: terminal.cols });
    const link = new Link(box.dataset.path, box.dataset.csrf, size, {
      onOutput: (bytes) => terminal.write(bytes, () => link.drew(bytes.length)),
      onEnd: (words) => {
        again.abort();
        resized.disconnect();
        terminal.options.disableStdin = true;
        terminal.write(`\r\n\x1b[2m${words}\x1b[0m\r\n`);
        tell(words);
        closeButton.textContent = "Put away";
        openButton.hidden = false;
      },
    });
    const resized = new ResizeObserver(() => requestAnimationFrame(() => term === terminal && fit.fit()));
    resized.observe(place);
    terminal.onResize(() => link.say(size()));
    terminal.onData((text) => link.type(encoder.encode(text)));
    terminal.onBinary((text) => link.type(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    terminal.attachCustomKeyEventHandler((event) => {
      if (!(event.key === "." && event.ctrlKey)) return true;
      if (event.type === "keydown") closeButton.focus();
      event.preventDefault();
      return false;
    });
    const { signal } = again;
    const restyle = () => { terminal.options.theme = theme(); };
    addEventListener("themed", restyle);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
    addEventListener("pagehide", () => link.close(), { signal });
    tools.querySelectorAll("[data-keys]").forEach((key) => key.addEventListener("click", () => { link.type(key.dataset.keys.split(" ").map(Number)); terminal.focus(); }, { signal }));
    closeButton.textContent = "Close";
    closeButton.onclick = () => { term = null; link.close(); resized.disconnect(); terminal.dispose(); place.replaceChildren(); show(false); tell(""); openButton.focus(); };
    tell("");
    terminal.focus();
    place.scrollIntoView({ block: "nearest" }); // what is out of view is not drawn
  }

  openButton.addEventListener("click", () => { if (term) closeButton.onclick(); start(); });
  reader.checked = localStorage.getItem("freehold-screen-reader") === "1";
  reader.addEventListener("change", () => {
    localStorage.setItem("freehold-screen-reader", reader.checked ? "1" : "");
    if (term) term.options.screenReaderMode = reader.checked;
  });
})();
