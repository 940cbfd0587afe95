// Which photographs are selected, and the bar that says what can be done with them.

import { download } from "./api.js";
import { announce, counted, element } from "./dom.js";

/** Selected photographs, in the order they were chosen. Says "change". */
export class Selection extends EventTarget {
  constructor() {
    super();
    this.photos = new Map(); // id -> photograph
    this.anchor = null; // the last one chosen: Shift selects from there
  }

  get size() {
    return this.photos.size;
  }

  has(photoId) {
    return this.photos.has(photoId);
  }

  /** Select one, or take it back; with `range` all from the one chosen last. */
  choose(photos, index, range) {
    const photo = photos[index];
    const from = range && this.anchor !== null ? photos.findIndex((each) => each.photo_id === this.anchor) : -1;
    if (from >= 0) {
      for (let i = Math.min(from, index); i <= Math.max(from, index); i++) this.photos.set(photos[i].photo_id, photos[i]);
    } else if (this.photos.has(photo.photo_id)) {
      this.photos.delete(photo.photo_id);
    } else {
      this.photos.set(photo.photo_id, photo);
    }
    this.anchor = photo.photo_id;
    this.#changed();
  }

  /** Select from one to another, as Shift and the arrow keys do. */
  extend(photos, from, to) {
    for (let i = Math.min(from, to); i <= Math.max(from, to); i++) this.photos.set(photos[i].photo_id, photos[i]);
    this.anchor = photos[to].photo_id;
    this.#changed();
  }

  addAll(photos) {
    for (const photo of photos) this.photos.set(photo.photo_id, photo);
    this.#changed();
  }

  clear() {
    if (!this.photos.size) return;
    this.photos.clear();
    this.anchor = null;
    this.#changed();
  }

  #changed() {
    announce(this.size ? `${counted(this.size, "photograph")} selected` : "Nothing selected");
    this.dispatchEvent(new Event("change"));
  }
}

/** The bar at the lower edge of the window. */
export function selectionBar(selection, bar) {
  const count = element("span", { class: "count" });
  const said = element("span", { class: "said", role: "status" });
  const form = () => [...selection.photos.values()].flatMap((photo) => [["photo", photo.photo_id], ...answers(photo)]);
  const button = (text, title, click) => element("button", { type: "button", text, title, on: { click } });
  bar.append(
    element(
      "section",
      { class: "selection", "aria-label": "Selected photographs" },
      count,
      button("Copy paths", "The paths, a line each, to the clipboard", () => copyPaths(selection, said)),
      button("Download ZIP", "The files as they are", () => download("/photos/zip", {}, form().filter(([name]) => name === "photo"))),
      button("COCO", "Boxes for other programs", () => download("/photos/export", { form: "coco" }, form())),
      button("CSV", "Boxes as a table", () => download("/photos/export", { form: "csv" }, form())),
      button("Clear", "Select nothing (Escape)", () => selection.clear()),
      said,
    ),
  );
  selection.addEventListener("change", () => {
    bar.hidden = selection.size === 0;
    said.textContent = "";
    count.textContent = `${selection.size.toLocaleString("en")} selected`;
  });
}

// The regions that answer, as the server takes them.
function answers(photo) {
  return (photo.regions ?? [])
    .filter((region) => region.for && region.region_id)
    .map((region) => ["region", `${region.region_id} ${region.score} ${region.for}`]);
}

async function copyPaths(selection, said) {
  const text = [...selection.photos.values()].map((photo) => photo.path).join("\n");
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied.";
  } catch {
    // Not allowed here (no secure context, or the person said no): as a file, then.
    download("/photos/export", { form: "paths" }, [...selection.photos.keys()].map((id) => ["photo", id]));
    said.textContent = "The browser keeps its clipboard closed: the paths come as a file.";
  }
}
