// A form for a web address, made of what its OpenAPI document says; where there is none, a plain request.
(() => {
  "use strict";
  const METHODS = ["get", "post", "put", "patch", "delete"];
  const LONGEST = 20000; // characters of a response that are shown
  let numbers = 0;

  const make = (tag, properties = {}, ...children) => {
    const item = Object.assign(document.createElement(tag), properties);
    item.append(...children);
    return item;
  };
  const field = (words, input) => {
    input.id = `try-field-${++numbers}`;
    return make("div", { className: "field" }, make("label", { htmlFor: input.id, textContent: words }), input);
  };

  function example(schema, document_, depth = 0) {
    if (!schema || depth > 6) return null;
    if (schema.$ref) return example(schema.$ref.split("/").slice(1).reduce((at, part) => at?.[part], document_), document_, depth + 1);
    if (schema.example !== undefined) return schema.example;
    if (Array.isArray(schema.examples) && schema.examples.length) return schema.examples[0];
    if (schema.default !== undefined) return schema.default;
    if (schema.enum?.length) return schema.enum[0];
    const choice = (schema.anyOf || schema.oneOf || schema.allOf)?.[0];
    if (choice) return example(choice, document_, depth + 1);
    switch (schema.type) {
      case "object": return Object.fromEntries(Object.entries(schema.properties || {}).map(([name, part]) => [name, example(part, document_, depth + 1)]));
      case "array": return [example(schema.items, document_, depth + 1)].filter((item) => item !== null);
      case "integer": case "number": return schema.minimum ?? 0;
      case "boolean": return false;
      case "string": return "";
      default: return schema.properties ? example({ ...schema, type: "object" }, document_, depth) : null;
    }
  }

  const operationsOf = (document_) => Object.entries(document_.paths || {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      method: method.toUpperCase(), path, summary: item[method].summary || "",
      parameters: [...(item.parameters || []), ...(item[method].parameters || [])].filter((one) => ["path", "query", "header"].includes(one.in)),
      body: item[method].requestBody?.content?.["application/json"]?.schema,
    })));

  const plain = () => [{ method: "GET", path: "/", summary: "", parameters: [], body: undefined, isFree: true }];

  async function openForm(box) {
    box.replaceChildren(make("p", { className: "faint", textContent: "Asking for its OpenAPI document; a container may have to start…" }));
    const auth = {};
    let document_ = null;
    try {
      const answer = await fetch(`${box.dataset.base}/openapi.json`, { credentials: "omit" });
      if (answer.ok && (answer.headers.get("content-type") || "").includes("json")) document_ = await answer.json();
    } catch { /* it has none */ }
    const operations = document_ ? operationsOf(document_) : [];
    build(box, operations.length ? operations : plain(), document_ || {}, auth);
  }

  function build(box, operations, document_, auth) {
    const form = make("form", { className: "try-form" });
    const choice = make("select");
    operations.forEach((one, index) => choice.append(make("option", { value: String(index), textContent: `${one.method} ${one.path}${one.summary ? ` – ${one.summary}` : ""}` })));
    const fields = make("div", { className: "try-fields" });
    const answer = make("div", { className: "try-answer" });
    answer.setAttribute("aria-live", "polite");
    let inputs = {};
    const show = () => {
      const one = operations[Number(choice.value)];
      inputs = { parameters: [] };
      fields.replaceChildren();
      if (one.isFree) {
        inputs.method = make("select");
        METHODS.forEach((method) => inputs.method.append(make("option", { textContent: method.toUpperCase() })));
        inputs.path = make("input", { value: "/", spellcheck: false });
        fields.append(field("Method", inputs.method), field("Path and query", inputs.path));
      }
      one.parameters.forEach((parameter) => {
        const value = example(parameter.schema, document_);
        const input = make("input", { value: value ?? "", required: Boolean(parameter.required), spellcheck: false });
        inputs.parameters.push([parameter, input]);
        fields.append(field(`${parameter.name} (${parameter.in})`, input));
      });
      if (one.body || one.isFree) {
        inputs.body = make("textarea", { rows: 6, spellcheck: false, value: one.body ? JSON.stringify(example(one.body, document_), null, 2) : "" });
        fields.append(field("Body (JSON)", inputs.body));
      }
    };
    choice.addEventListener("change", show);
    show();
    const key = make("input", { spellcheck: false, autocomplete: "off" });
    const secret = make("input", { type: "password", autocomplete: "off" });
    const token = make("details", {}, make("summary", { textContent: "Proxy token" }), field("Modal-Key", key), field("Modal-Secret", secret));
    form.append(...(operations[0].isFree ? [] : [field("Request", choice)]), fields, token, make("div", {}, make("button", { className: "primary", textContent: "Send" })), answer);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const one = operations[Number(choice.value || 0)];
      await send(box, one, inputs, { key: key.value, secret: secret.value }, answer);
    });
    box.replaceChildren(form);
  }

  async function send(box, one, inputs, token, answer) {
    let path = one.isFree ? inputs.path.value : one.path;
    const headers = {};
    const query = new URLSearchParams();
    inputs.parameters.forEach(([parameter, input]) => {
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "" && parameter.in === "query") query.append(parameter.name, input.value);
      else if (input.value !== "" && parameter.in === "header") headers[parameter.name] = input.value;
    });
    const method = one.isFree ? inputs.method.value : one.method;
    const body = inputs.body?.value && method !== "GET" ? inputs.body.value : undefined;
    if (body) headers["Content-Type"] = "application/json";
    if (token.key) { headers["Modal-Key"] = token.key; headers["Modal-Secret"] = token.secret; }
    const target = `${box.dataset.base}${path.startsWith("/") ? "" : "/"}${path}${query.size ? `?${query}` : ""}`;
    answer.replaceChildren(make("p", { className: "faint", textContent: "Waiting for the response…" }));
    const began = performance.now();
    try {
      const response = await fetch(target, { method, headers, body, credentials: "omit" });
      const text = await response.text();
      const took = Math.round(performance.now() - began);
      const call = response.headers.get("modal-function-call-id");
      const head = make("p", {}, make("span", { className: `badge ${response.ok ? "ok" : "bad"}`, textContent: String(response.status) }), ` ${took} ms, ${response.headers.get("content-type") || "no type"} `);
      if (call && /^fc-[A-Za-z0-9]+$/.test(call)) head.append(make("a", { href: `/dash/calls/${call}`, textContent: "its log" }));
      const pre = make("pre", { className: "code", textContent: pretty(text).slice(0, LONGEST), tabIndex: 0 });
      pre.setAttribute("aria-label", "Response");
      answer.replaceChildren(head, pre);
    } catch (error) {
      answer.replaceChildren(make("p", { className: "trouble", textContent: String(error) }));
    }
  }

  const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".try-open");
    if (button) openForm(button.closest(".try"));
  });
})();
