// The API, described from the server's own description of it.

import { element } from "./dom.js";

/** Fill a view with the API's description. */
export async function showApi(view) {
  document.title = "API – Photographs";
  const description = await (await fetch("/api/openapi.json")).json();
  const operations = Object.entries(description.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  view.replaceChildren(
    element(
      "article",
      { class: "part api" },
      element("h1", { text: "The API" }),
      element("p", { text: description.info.description }),
      element("p", {}, "In a terminal: ", element("code", { text: `curl '${location.origin}/api/search?q=dog&k=10'` })),
      element("p", {}, "For other programs: ", element("a", { href: "/api/openapi.json", target: "_blank", rel: "noopener", text: "openapi.json" })),
      operations.map(section),
    ),
  );
}

function section({ path, method, operation }) {
  const heading = element("h2", {}, element("span", { class: `method ${method}`, text: method.toUpperCase() }), " ", element("code", { text: path }));
  const paragraphs = (operation.description ?? operation.summary ?? "").split("\n\n").map((text) => element("p", { text }));
  const parameters = operation.parameters ?? [];
  const rows = parameters.map((parameter) => element("tr", {}, element("th", { scope: "row" }, element("code", { text: parameter.name })), element("td", { text: parameter.required ? "needed" : "" }), element("td", { text: `${parameter.description ?? ""} ${limits(parameter.schema)}`.trim() })));
  return element(
    "section",
    { "aria-label": `${method.toUpperCase()} ${path}` },
    heading,
    paragraphs,
    rows.length > 0 && element("table", {}, element("thead", {}, element("tr", {}, ["Parameter", "", "Meaning"].map((text) => (text ? element("th", { scope: "col", text }) : element("td"))))), element("tbody", {}, rows)),
    method === "get" && tryIt(path, parameters),
  );
}

function limits(schema = {}) {
  const parts = [];
  if (schema.default !== undefined) parts.push(`Default: ${JSON.stringify(schema.default)}.`);
  if (schema.minimum !== undefined && schema.maximum !== undefined) parts.push(`${schema.minimum} to ${schema.maximum}.`);
  return parts.join(" ");
}

// A form that sends the request and shows what comes.
function tryIt(path, parameters) {
  const fields = parameters.map((parameter) => element("label", {}, `${parameter.name} `, element("input", { name: parameter.name, required: parameter.required, data: { in: parameter.in } })));
  const shown = element("pre", { tabindex: 0, "aria-label": "The answer", hidden: true });
  const send = async (event) => {
    event.preventDefault();
    let target = path;
    const query = new URLSearchParams();
    for (const field of form.querySelectorAll("input")) {
      if (field.dataset.in === "path") target = target.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.value) query.append(field.name, field.value);
    }
    const text = query.toString();
    const reply = await fetch(target + (text ? `?${text}` : "")).catch(() => null);
    shown.hidden = false;
    if (!reply) shown.textContent = "The server does not answer.";
    else if (!reply.headers.get("content-type")?.includes("json")) shown.textContent = `${reply.status}: ${reply.headers.get("content-type")}, ${reply.headers.get("content-length")} bytes`;
    else shown.textContent = `${reply.status}\n${JSON.stringify(await reply.json(), null, 2).slice(0, 20000)}`;
  };
  const form = element("form", { on: { submit: send } }, fields, element("button", { type: "submit", text: "Try" }));
  return element("details", {}, element("summary", { text: "Try it" }), form, shown);
}
