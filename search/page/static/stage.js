// A photograph to look at: zoom, pan, the region below the pointer, a box that is drawn.

import { overlay } from "./boxes.js";
import { thumbnail } from "./api.js";
import { element } from "./dom.js";

const MOST = 16; // times the size that fits
const SMALL = 6; // pixels: a shorter drag is a click
const STEP = 1.4;

/** Says "region" (detail: a region or null) for the one below the pointer, "choose" when one is clicked, "box" with
 * [x, y, width, height] in pixels of the photograph when one was drawn, "swipe" (detail: 1 or -1). */
export class Stage extends EventTarget {
  constructor() {
    super();
    this.image = element("img", { alt: "", draggable: "false", decoding: "async" });
    this.canvas = element("div", { class: "canvas" }, this.image);
    this.label = element("div", { class: "region-label", hidden: true });
    this.element = element("div", { class: "stage", "aria-hidden": "true" }, this.canvas, this.label);
    this.pointers = new Map();
    this.zoom = 1;
    this.offset = [0, 0];
    this.boxMode = false;
    this.region = null;
    this.observer = new ResizeObserver(() => this.photo && this.fit());
    this.observer.observe(this.element);
    const on = (name, listener, options) => this.element.addEventListener(name, listener, options);
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event));
    on("pointerleave", (event) => event.pointerType !== "touch" && this.highlight(null));
    on("dblclick", (event) => this.zoomAt(this.zoom > 1 ? 1 / this.zoom : 2.5, event));
    this.image.addEventListener("load", () => this.element.classList.remove("loading"));
    this.image.addEventListener("error", () => {
      this.element.classList.remove("loading");
      this.element.classList.add("broken");
    });
  }

  remove() {
    this.observer.disconnect();
  }

  /**
   * Show a photograph.
   * @param {object} photo with its regions
   * @param {object[]} answers regions that answer: {region_id, box, colour}
   */
  show(photo, answers) {
    this.photo = photo;
    this.drawing = null;
    this.answers = new Map(answers.map((region) => [region.region_id, region.colour]));
    this.element.classList.remove("broken");
    this.element.classList.add("loading");
    this.image.removeAttribute("src");
    this.side = 0;
    const boxes = photo.regions.map((region) => ({ box: region.box, id: region.region_id, colour: this.answers.get(region.region_id) ?? 0 }));
    // Large ones first: a small one inside of them is on top.
    boxes.sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]);
    this.overlay?.remove();
    this.overlay = overlay(photo, boxes);
    for (const group of this.overlay.children) group.classList.toggle("answers", this.answers.has(Number(group.dataset.region)));
    this.canvas.append(this.overlay);
    this.region = null;
    this.label.hidden = true;
    this.fit();
  }

  /** As large as there is room for. */
  fit() {
    this.zoom = 1;
    const { clientWidth, clientHeight } = this.element;
    this.scale = Math.min(clientWidth / this.photo.width, clientHeight / this.photo.height) || 0;
    this.offset = [(clientWidth - this.photo.width * this.scale) / 2, (clientHeight - this.photo.height * this.scale) / 2];
    this.#place();
  }

  zoomIn() {
    this.zoomAt(STEP);
  }

  zoomOut() {
    this.zoomAt(1 / STEP);
  }

  /** Zoom so that the place of an event (or the middle) stays where it is. */
  zoomAt(factor, event = null) {
    const frame = this.element.getBoundingClientRect();
    const x = event ? event.clientX - frame.left : frame.width / 2;
    const y = event ? event.clientY - frame.top : frame.height / 2;
    const zoom = Math.min(Math.max(this.zoom * factor, 1), MOST);
    const by = zoom / this.zoom;
    this.zoom = zoom;
    if (zoom === 1) return this.fit();
    this.offset = [x - (x - this.offset[0]) * by, y - (y - this.offset[1]) * by];
    this.#place();
  }

  pan(x, y) {
    this.offset = [this.offset[0] + x, this.offset[1] + y];
    this.#place();
  }

  /** Whether a drag draws a box even where it would move the photograph. */
  setBoxMode(on) {
    this.boxMode = on;
    this.element.classList.toggle("box-mode", on);
    if (!on) this.#drop();
    else this.#showDrawing([this.photo.width * 0.3, this.photo.height * 0.3, this.photo.width * 0.4, this.photo.height * 0.4]);
  }

  /** With the keyboard: move the box, or with `grow` its lower right corner, by shares of the photograph. */
  nudge(x, y, grow) {
    const { width, height } = this.photo;
    let [left, top, w, h] = this.drawing;
    if (grow) {
      w = Math.min(Math.max(w + x * width, width * 0.02), width - left);
      h = Math.min(Math.max(h + y * height, height * 0.02), height - top);
    } else {
      left = Math.min(Math.max(left + x * width, 0), width - w);
      top = Math.min(Math.max(top + y * height, 0), height - h);
    }
    this.#showDrawing([left, top, w, h]);
  }

  /** Ask for what is in the box that stands. */
  finish() {
    if (this.drawing) this.#say("box", this.drawing.map((side) => Math.round(side * 10) / 10));
  }

  /** Light up a region, by its id; null: none. */
  highlight(regionId) {
    if (this.region === regionId) return;
    this.region = regionId;
    for (const group of this.overlay?.children ?? []) group.classList.toggle("lit", Number(group.dataset.region) === regionId);
    const region = this.photo.regions.find((each) => each.region_id === regionId);
    this.label.hidden = !region;
    if (region) {
      this.label.textContent = region.phrase || "a thing without a name";
      this.#placeLabel(region);
    }
    this.#say("region", region ?? null);
  }

  #placeLabel(region) {
    const unit = this.scale * this.zoom;
    const x = Math.max(this.offset[0] + region.box[0] * unit, 0);
    const y = Math.max(this.offset[1] + region.box[1] * unit, 26);
    this.label.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px) translateY(-100%)`;
  }

  #place() {
    const unit = this.scale * this.zoom;
    const width = this.photo.width * unit;
    const height = this.photo.height * unit;
    const { clientWidth, clientHeight } = this.element;
    // Never further than to its edge, and in the middle where there is room.
    this.offset = [bounded(this.offset[0], width, clientWidth), bounded(this.offset[1], height, clientHeight)];
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px`, transform: `translate(${this.offset[0]}px, ${this.offset[1]}px)` });
    this.element.classList.toggle("zoomed", this.zoom > 1);
    const side = Math.min(Math.max(width, height), 4096);
    if (width && side > this.side) {
      this.side = side * 1.2;
      this.image.src = thumbnail(this.photo, Math.min(width, 4096), Math.min(height, 4096));
    }
    const region = this.photo.regions.find((each) => each.region_id === this.region);
    if (region) this.#placeLabel(region);
  }

  // Pixels of the photograph.
  #at(event) {
    const frame = this.element.getBoundingClientRect();
    const unit = this.scale * this.zoom;
    return [(event.clientX - frame.left - this.offset[0]) / unit, (event.clientY - frame.top - this.offset[1]) / unit];
  }

  // The smallest region there.
  #regionAt([x, y]) {
    let best = null;
    for (const region of this.photo.regions) {
      const [left, top, width, height] = region.box;
      const inside = x >= left && y >= top && x <= left + width && y <= top + height;
      if (inside && (!best || width * height < best.box[2] * best.box[3])) best = region;
    }
    return best;
  }

  #wheel(event) {
    event.preventDefault();
    if (event.shiftKey && this.zoom > 1) this.pan(-event.deltaY, 0);
    else this.zoomAt(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 60) * 0.005), event);
  }

  #down(event) {
    if (event.button !== 0 || !this.photo) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 1) {
      this.start = event;
      const touches = event.pointerType === "touch";
      this.action = this.boxMode || (this.zoom === 1 && !touches) ? "box" : this.zoom > 1 ? "pan" : "swipe";
      this.from = this.#at(event);
    } else {
      this.action = "pinch";
      this.#drop();
    }
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.highlight(this.#regionAt(this.#at(event))?.region_id ?? null);
      return;
    }
    if (this.action === "pinch") {
      const [a, b] = [...this.pointers.values()];
      const other = a.pointerId === event.pointerId ? b : a;
      if (other) this.zoomAt(distance(event, other) / (distance(before, other) || 1), { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 });
    } else if (this.action === "pan") this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    else if (this.action === "box" && distance(event, this.start) >= SMALL) this.#showDrawing(between(this.from, this.#at(event), this.photo));
    this.pointers.set(event.pointerId, event);
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const far = distance(event, this.start) >= SMALL;
    const cancelled = event.type === "pointercancel";
    if (this.action === "box" && far && !cancelled && this.drawing) {
      const [, , width, height] = this.drawing;
      if (width >= 4 && height >= 4) this.finish();
      else this.#drop();
    } else if (this.action === "swipe" && far && !cancelled) {
      const x = event.clientX - this.start.clientX;
      if (Math.abs(x) > 40) this.#say("swipe", x < 0 ? 1 : -1);
    } else if (!far && !cancelled && !this.boxMode) {
      const region = this.#regionAt(this.#at(event));
      // A finger has no hovering: it shows a region first, and chooses it when it comes back.
      if (event.pointerType === "touch" && region?.region_id !== this.region) this.highlight(region?.region_id ?? null);
      else if (region) this.#say("choose", region);
    }
  }

  #showDrawing(box) {
    this.drawing = box;
    const [x, y, width, height] = box;
    if (!this.drawn) this.drawn = element("g", { class: "box drawing" }, element("rect", { class: "halo", "vector-effect": "non-scaling-stroke" }), element("rect", { class: "line", "vector-effect": "non-scaling-stroke" }));
    for (const rect of this.drawn.children) for (const [name, value] of Object.entries({ x, y, width, height })) rect.setAttribute(name, value);
    this.overlay.append(this.drawn);
  }

  #drop() {
    this.drawing = null;
    this.drawn?.remove();
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function bounded(offset, size, room) {
  return size <= room ? (room - size) / 2 : Math.min(0, Math.max(offset, room - size));
}

function distance(a, b) {
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
}

// The box with these opposite corners, within the photograph.
function between([x1, y1], [x2, y2], { width, height }) {
  const [left, right] = [Math.min(x1, x2), Math.max(x1, x2)].map((x) => Math.min(Math.max(x, 0), width));
  const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)].map((y) => Math.min(Math.max(y, 0), height));
  return [left, top, right - left, bottom - top];
}
