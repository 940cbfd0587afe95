// What there is to say of a photograph, beside it: where it lies, when it was taken, its regions.

import { address } from "./api.js";
import { example, photoAddress, resultsAddress, words } from "./address.js";
import { element, fileName, folderOf, percent } from "./dom.js";

/**
 * @param {object} photo as the API tells it
 * @param {object[]} answers its regions that answer: {region_id, for, score, colour}
 * @param {(regionId: number|null) => void} light what lights up a region in the photograph
 */
export function details(photo, answers, light) {
  return element(
    "div",
    { class: "details" },
    element("h1", { text: fileName(photo.path), tabindex: -1 }),
    !photo.present && element("p", { class: "warning", text: "The file is not there any more: `indexer build` looks again." }),
    photo.incomplete && element("p", { class: "warning", text: `A part of the picture is missing: ${photo.incomplete}.` }),
    element(
      "p",
      { class: "actions" },
      photo.present && element("a", { class: "button", href: address(`/photos/${photo.photo_id}/original`), target: "_blank", rel: "noopener", text: "Open original" }),
      photo.present && element("a", { class: "button", href: address(`/photos/${photo.photo_id}/original`, { download: 1 }), download: fileName(photo.path), text: "Download" }),
      element("a", { class: "button", href: resultsAddress(example({ photo: String(photo.photo_id) })), text: "More like this" }),
    ),
    facts(photo),
    element("h2", { text: "What is in it" }),
    element("p", { class: "small", text: "Choose a part to see more like it, or drag a box over the photograph." }),
    regionList(photo, answers, light),
  );
}

function facts(photo) {
  const entries = [
    ["Taken", when(photo)],
    ["Camera", [photo.camera, photo.lens].filter(Boolean).join(", ")],
    ["Size", `${photo.width} × ${photo.height}${photo.bytes ? `, ${size(photo.bytes)}` : ""}`],
    ["Place", photo.latitude === null || photo.longitude === null ? "" : place(photo.latitude, photo.longitude)],
    ["Rating", photo.rating === null ? "" : photo.rating < 0 ? "rejected" : `${photo.rating} of 5`],
    ["Keywords", photo.keywords.join(", ")],
    ["Folder", folderOf(photo.path)],
  ].filter(([, value]) => value);
  const list = element("dl", {}, entries.map(([name, value]) => [element("dt", { text: name }), element("dd", { class: name === "Folder" ? "path" : null, text: value })]));
  if (photo.copies.length) {
    const links = photo.copies.map((copy) => element("li", {}, element("a", { class: "path", href: photoAddress(copy.photo_id, words([])), text: copy.path })));
    list.append(element("dt", { text: "Copies" }), element("dd", {}, element("ul", { class: "plain" }, links)));
  }
  return list;
}

function regionList(photo, answers, light) {
  const byId = new Map(answers.map((answer) => [answer.region_id, answer]));
  const first = photo.regions.filter((region) => byId.has(region.region_id));
  const others = photo.regions.filter((region) => !byId.has(region.region_id));
  const item = (region) => {
    const answer = byId.get(region.region_id);
    const phrase = region.phrase || "unnamed";
    const on = { mouseenter: () => light(region.region_id), mouseleave: () => light(null), focus: () => light(region.region_id), blur: () => light(null) };
    return element(
      "li",
      {},
      element(
        "a",
        { href: resultsAddress(example({ region: String(region.region_id) })), class: answer ? `answer colour-${answer.colour % 8}` : null, title: "More like this region", on },
        element("span", {}, phrase, answer && answer.for && answer.for !== phrase && element("span", { class: "for", text: `for “${answer.for}”` })),
        answer && element("span", { class: "count", text: answer.probability === undefined ? answer.score.toFixed(2) : percent(answer.probability) }),
      ),
    );
  };
  const list = (regions) => element("ul", { class: "regions" }, regions.map(item));
  const sure = others.filter((region) => region.sure);
  const unsure = others.filter((region) => !region.sure);
  if (!first.length && !sure.length) return list(unsure);
  return element(
    "div",
    {},
    list([...first, ...sure]),
    unsure.length > 0 && element("details", { class: "unsure" }, element("summary", { text: `${unsure.length} less sure` }), list(unsure)),
  );
}

function when(photo) {
  if (!photo.taken) return "";
  const [day, time] = photo.taken.split("T");
  const date = new Date(`${day}T12:00:00`);
  const told = Number.isNaN(date.getTime()) ? day : date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
  return `${told}${time ? `, ${time.slice(0, 5)}` : ""}${zone(photo.utc_offset)}`;
}

function zone(minutes) {
  if (minutes === null || minutes === undefined) return "";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = String(Math.abs(minutes) % 60).padStart(2, "0");
  return ` (UTC${minutes < 0 ? "−" : "+"}${hours}:${rest})`;
}

function place(latitude, longitude) {
  const north = `${Math.abs(latitude).toFixed(5)}° ${latitude < 0 ? "S" : "N"}`;
  return `${north}, ${Math.abs(longitude).toFixed(5)}° ${longitude < 0 ? "W" : "E"}`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(Math.round(bytes / 1e3), 1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
