// One photograph, over the grid that it was opened from.

import { ask, thumbnail } from "./api.js";
import { example, go, photoAddress, question, resultsAddress } from "./address.js";
import { details } from "./details.js";
import { announce, element, fileName, iconButton } from "./dom.js";
import { Stage } from "./stage.js";

const PAN = 60; // pixels a key
const NUDGE = 0.02; // of the photograph a key

export class PhotoView {
  /**
   * @param {HTMLElement} overlay
   * @param {import("./results.js").Results} results
   * @param {import("./selection.js").Selection} selection
   */
  constructor(overlay, results, selection) {
    this.overlay = overlay;
    this.results = results;
    this.selection = selection;
    this.photoId = null;
    document.addEventListener("keydown", (event) => this.#key(event));
    selection.addEventListener("change", () => this.#showSelected());
    results.addEventListener("change", () => this.photo && this.#showPlace());
  }

  get isOpen() {
    return this.photoId !== null;
  }

  /** Show a photograph; the grid behind it stays as it is. */
  async show(photoId) {
    const first = !this.isOpen;
    this.photoId = photoId;
    if (first) this.#open();
    this.side.replaceChildren(element("p", { class: "small", text: "…" }));
    let photo;
    try {
      photo = await ask(`/photos/${photoId}`);
    } catch (error) {
      if (this.photoId === photoId) this.side.replaceChildren(element("p", { class: "message error", role: "alert", text: error.message }));
      return;
    }
    if (this.photoId !== photoId) return;
    await this.results.loading;
    const hit = this.results.hit(photoId);
    const palette = this.results.palette ?? new Map();
    const answers = (hit?.regions ?? []).map((region) => ({ ...region, colour: palette.get(region.for) ?? 0 }));
    this.photo = photo;
    document.title = `${fileName(photo.path)} – Photographs`;
    this.overlay.querySelector("[role=dialog]").setAttribute("aria-label", `The photograph ${fileName(photo.path)}`);
    this.stage.show(photo, answers);
    this.side.replaceChildren(details(photo, answers, (regionId) => this.stage.highlight(regionId)));
    this.#showPlace();
    this.#showSelected();
    const place = this.results.place(photoId);
    announce(`${fileName(photo.path)}${place ? `, ${place[0]} of ${place[1]}` : ""}`);
    for (const step of [1, -1]) this.#prepare(this.results.beside(photoId, step));
  }

  close() {
    const photoId = this.photoId;
    this.photoId = null;
    this.photo = null;
    this.stage?.remove();
    this.overlay.hidden = true;
    this.overlay.replaceChildren();
    document.getElementById("page").inert = false;
    document.documentElement.classList.remove("covered");
    if (photoId !== null) this.results.focus(photoId);
  }

  #open() {
    this.stage = new Stage();
    this.side = element("aside", { class: "side", "aria-label": "About the photograph" });
    const button = (label, paths, click, properties) => iconButton(label, paths, click, properties);
    this.previous = button("The photograph before (←)", ["M15 5l-7 7 7 7"], () => this.#step(-1));
    this.next = button("The next photograph (→)", ["M9 5l7 7-7 7"], () => this.#step(1));
    this.select = button("Select (space)", ["M5 12l5 5 9-10"], () => this.#toggleSelected(), { "aria-pressed": "false" });
    this.boxButton = button("Search with a box (b)", ["M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4", "M9 9h6v6H9z"], () => this.#setBoxMode(!this.stage.boxMode), { "aria-pressed": "false" });
    this.allButton = button("Show all boxes (r)", ["M4 4h9v9H4z", "M10 10h10v10H10z"], () => this.#toggleAll(), { "aria-pressed": "false" });
    this.count = element("span", { class: "place" });
    this.hint = element("p", { class: "hint", role: "status", hidden: true });
    const tools = element(
      "div",
      { class: "tools", role: "toolbar", "aria-label": "Photograph" },
      button("Back to the photographs (Escape)", ["M19 12H5", "M11 5l-7 7 7 7"], () => this.#leave()),
      this.count,
      element("span", { class: "space" }),
      button("Smaller (-)", ["M5 12h14"], () => this.stage.zoomOut()),
      button("Larger (+)", ["M5 12h14M12 5v14"], () => this.stage.zoomIn()),
      button("Fit (0)", ["M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"], () => this.stage.fit()),
      this.allButton,
      this.boxButton,
      this.select,
    );
    const view = element(
      "section",
      { class: "photo", role: "dialog", "aria-modal": "true", "aria-label": "A photograph", tabindex: -1 },
      element("div", { class: "left" }, tools, this.stage.element, this.hint, element("div", { class: "turn" }, this.previous, this.next)),
      this.side,
    );
    this.overlay.replaceChildren(view);
    this.overlay.hidden = false;
    document.getElementById("page").inert = true;
    document.documentElement.classList.add("covered");
    view.focus();
    this.stage.addEventListener("choose", (event) => go(resultsAddress(example({ region: String(event.detail.region_id) }))));
    this.stage.addEventListener("box", (event) => go(resultsAddress(example({ photo: String(this.photoId), box: event.detail.join(",") }))));
    this.stage.addEventListener("swipe", (event) => this.#step(event.detail));
    this.stage.addEventListener("region", (event) => {
      for (const link of this.side.querySelectorAll(".regions a")) {
        link.classList.toggle("lit", event.detail !== null && link.href.endsWith(`region=${event.detail.region_id}`));
      }
      for (const fold of this.side.querySelectorAll("details")) fold.classList.toggle("lit", Boolean(fold.querySelector("a.lit")));
    });
  }

  #leave() {
    if (history.state?.inside) history.back();
    else go(resultsAddress(question()), { replace: true });
  }

  #step(by) {
    const other = this.results.beside(this.photoId, by);
    if (other) go(photoAddress(other.photo_id, question()), { replace: true });
  }

  // So that the next one is there when it is asked for.
  #prepare(photo) {
    if (!photo) return;
    const image = new Image();
    const { clientWidth, clientHeight } = this.stage.element;
    const scale = Math.min(clientWidth / photo.width, clientHeight / photo.height);
    image.src = thumbnail(photo, photo.width * scale, photo.height * scale);
  }

  #showPlace() {
    const place = this.results.place(this.photoId);
    this.count.textContent = place ? `${place[0]} of ${place[1].toLocaleString("en")}` : "";
    this.previous.disabled = !this.results.beside(this.photoId, -1);
    this.next.disabled = !this.results.beside(this.photoId, 1);
  }

  #toggleSelected() {
    if (this.photo) this.selection.choose([this.results.hit(this.photoId) ?? this.photo], 0, false);
  }

  #showSelected() {
    if (this.isOpen) this.select.setAttribute("aria-pressed", String(this.selection.has(this.photoId)));
  }

  #toggleAll() {
    const on = this.stage.element.classList.toggle("all-boxes");
    this.allButton.setAttribute("aria-pressed", String(on));
  }

  #setBoxMode(on) {
    if (!this.photo) return;
    this.stage.setBoxMode(on);
    this.boxButton.setAttribute("aria-pressed", String(on));
    this.hint.hidden = !on;
    this.hint.textContent = on ? "Drag a box, or move this one with the arrow keys (with Shift: its size); Enter searches with it." : "";
  }

  #key(event) {
    if (!this.isOpen || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, select, textarea, dialog")) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const inList = event.target.closest?.(".side");
    if (event.key === "Escape") {
      if (this.stage.boxMode) this.#setBoxMode(false);
      else this.#leave();
    } else if (arrow && this.stage.boxMode) this.stage.nudge(arrow[0] * NUDGE, arrow[1] * NUDGE, event.shiftKey);
    else if (event.key === "Enter" && this.stage.boxMode && !event.target.closest?.("button, a")) this.stage.finish();
    else if (arrow && event.shiftKey) this.stage.pan(-arrow[0] * PAN, -arrow[1] * PAN);
    else if (arrow && arrow[0]) this.#step(arrow[0]);
    else if (event.key === "+" || event.key === "=") this.stage.zoomIn();
    else if (event.key === "-") this.stage.zoomOut();
    else if (event.key === "0") this.stage.fit();
    else if (event.key === "r") this.#toggleAll();
    else if (event.key === "b") {
      this.#setBoxMode(!this.stage.boxMode);
      this.overlay.querySelector("[role=dialog]").focus();
    } else if (event.key === " " && !event.target.closest?.("button, a")) this.#toggleSelected();
    else return;
    if (!(inList && arrow && arrow[1])) event.preventDefault();
  }
}
