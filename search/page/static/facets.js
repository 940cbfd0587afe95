// What the found photographs have in common, with counts: a click narrows the question down.

import { resultsAddress } from "./address.js";
import { element, folderOf } from "./dom.js";

const SHOWN = 8; // values of a facet before "more"

/**
 * The facets of an answer.
 * @param {import("./address.js").Question} asked
 * @param {object[]} hits
 */
export function facets(asked, hits) {
  const found = [
    facet("Folder", tally(hits, (hit) => folderOf(hit.path)), shorter, (folder) => ({ under: folder })),
    facet("Year", tally(hits, (hit) => hit.taken?.slice(0, 4)), String, (year) => ({ after: year, before: String(Number(year) + 1) }), byName),
    facet("Camera", tally(hits, (hit) => hit.camera), String, (camera) => ({ camera })),
    facet("Orientation", tally(hits, orientation), String, (value) => ({ orientation: value })),
  ].filter(Boolean);

  function facet(title, counts, shown, filters, order = byCount) {
    const active = Object.keys(filters("1")).some((name) => asked.filters[name]);
    if (counts.size < 2 && !active) return null;
    const values = [...counts].sort(order).map(([value, count]) =>
      element(
        "li",
        {},
        element(
          "a",
          { href: resultsAddress({ ...asked, filters: { ...asked.filters, ...filters(value) } }), title: value },
          element("span", { text: shown(value) }),
          element("span", { class: "count", text: count.toLocaleString("en") }),
        ),
      ),
    );
    const list = element("ul", {}, values.slice(0, SHOWN));
    const rest = values.slice(SHOWN);
    const more = rest.length && element("button", { type: "button", class: "link", text: `${rest.length} more`, on: { click: () => (more.remove(), list.append(...rest), rest[0].querySelector("a").focus()) } });
    return element("section", { class: "facet", "aria-label": title }, element("h2", { text: title }), list, more || null);
  }

  const panel = element("details", { class: "facets" }, element("summary", { text: "Narrow down" }), element("div", {}, found));
  panel.hidden = !found.length;
  return panel;
}

function orientation(hit) {
  if (Math.abs(hit.width - hit.height) <= Math.max(hit.width, hit.height) * 0.02) return "square";
  return hit.width > hit.height ? "landscape" : "portrait";
}

function tally(hits, value) {
  const counts = new Map();
  for (const hit of hits) {
    const found = value(hit);
    if (found) counts.set(found, (counts.get(found) ?? 0) + 1);
  }
  return counts;
}

function byCount([a, m], [b, n]) {
  return n - m || (a < b ? -1 : 1);
}

function byName([a], [b]) {
  return a < b ? 1 : -1;
}

// The last two folders of a path.
function shorter(folder) {
  const parts = folder.split(/[\\/]/).filter(Boolean);
  return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : folder;
}

