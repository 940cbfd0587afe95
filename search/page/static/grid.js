// A grid of any number of photographs: only those near the window exist as elements.

import { overlay } from "./boxes.js";
import { thumbnail } from "./api.js";
import { counted, element, fileName, percent } from "./dom.js";
import { justify, neighbour } from "./justify.js";

const GAP = 6;
const MARGIN = 1.0; // heights of the window above and below it that exist too

/** Photographs in rows. */
export class Grid {
  /**
   * @param {object} options
   * @param {string} options.label for screen readers
   * @param {(photo: object) => string} options.address of a photograph
   * @param {import("./selection.js").Selection} options.selection
   * @param {(photo: object) => object[]} [options.boxes] to draw over it
   * @param {() => void} [options.nearEnd] called when the end comes near
   */
  constructor({ label, address, selection, boxes = () => [], nearEnd = () => {} }) {
    this.element = element("ul", { class: "grid", "aria-label": label });
    this.photos = [];
    this.layout = justify([], 1, 1, GAP);
    this.current = 0; // the photograph that Tab leads to
    this.options = { address, selection, boxes, nearEnd };
    this.tiles = new Map(); // index -> element
    this.drawing = 0;
    this.width = 0;
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("focusin", (event) => this.#focused(event));
    this.element.addEventListener("click", (event) => this.#click(event));
    this.redraw = () => {
      if (!this.drawing) this.drawing = requestAnimationFrame(() => this.#draw());
    };
    window.addEventListener("scroll", this.redraw, { passive: true });
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.element);
    selection.addEventListener("change", (this.reselect = () => this.#showSelection()));
  }

  /** Let go of what listens. */
  remove() {
    window.removeEventListener("scroll", this.redraw);
    this.observer.disconnect();
    this.options.selection.removeEventListener("change", this.reselect);
    cancelAnimationFrame(this.drawing);
    this.element.remove();
  }

  /** Show these photographs. Those that stay where they are keep their elements, and the window its place. */
  show(photos) {
    const same = (index) => this.photos[index]?.photo_id === photos[index]?.photo_id && this.photos[index] === photos[index];
    for (const [index, tile] of this.tiles) {
      if (!same(index)) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    this.photos = photos;
    this.current = Math.min(this.current, Math.max(photos.length - 1, 0));
    this.#layOut();
  }

  /** Bring a photograph to the window, and the keyboard to it. */
  focus(index) {
    if (!this.photos.length) return;
    this.current = index;
    const tile = this.layout.tiles[index];
    if (!tile) return;
    const top = this.element.getBoundingClientRect().top + tile.top;
    const head = document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0;
    if (top < head + 8) window.scrollBy(0, top - head - 8);
    else if (top + tile.height > window.innerHeight - 8) window.scrollBy(0, top + tile.height - window.innerHeight + 8);
    this.#draw();
    this.tiles.get(index)?.querySelector("a").focus({ preventScroll: true });
  }

  #resized() {
    const width = this.element.clientWidth;
    if (width && width !== this.width) this.#layOut();
  }

  #layOut() {
    this.width = this.element.clientWidth;
    if (!this.width) return;
    this.layout = justify(this.photos, this.width, rowHeight(this.width), GAP);
    this.element.style.height = `${this.layout.height}px`;
    for (const [index, tile] of this.tiles) this.#place(tile, index);
    this.#draw();
  }

  #draw() {
    cancelAnimationFrame(this.drawing);
    this.drawing = 0;
    const { rows } = this.layout;
    if (!this.element.isConnected || !rows.length) return;
    const above = -this.element.getBoundingClientRect().top;
    const room = window.innerHeight;
    const from = rowAt(rows, above - MARGIN * room);
    const to = rowAt(rows, above + (1 + MARGIN) * room);
    const first = rows[from].first;
    const last = rows[to].last;
    const focused = this.element.contains(document.activeElement) ? this.current : -1;
    for (const [index, tile] of this.tiles) {
      if ((index < first || index > last) && index !== focused) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (let index = first; index <= last; index++) if (!this.tiles.has(index)) this.#add(index);
    if (to >= rows.length - 2) this.options.nearEnd();
  }

  #add(index) {
    const photo = this.photos[index];
    const { width, height } = this.layout.tiles[index];
    const name = fileName(photo.path);
    const image = element("img", { alt: "", decoding: "async", draggable: "false", fetchpriority: index < 4 ? "high" : null });
    image.addEventListener("error", () => broken(tile, link), { once: true });
    image.addEventListener("load", () => tile.classList.add("drawn"), { once: true });
    const selected = this.options.selection.has(photo.photo_id);
    const link = element(
      "a",
      { href: this.options.address(photo), "aria-label": this.#name(photo), tabindex: index === this.current ? 0 : -1 },
      image,
      overlay(photo, this.options.boxes(photo)),
    );
    const check = element("input", { type: "checkbox", tabindex: -1, "aria-label": `Select ${name}` });
    check.checked = selected;
    const copies = (photo.copies?.length ?? 0) + (photo.similar?.length ?? 0);
    const score = photo.score === undefined ? null : scoreBar(photo);
    const tile = element(
      "li",
      { class: selected ? "tile selected" : "tile", "aria-setsize": this.photos.length, "aria-posinset": index + 1, data: { index } },
      link,
      check,
      copies > 0 && element("span", { class: "copies", text: `+${copies}`, title: [...photo.copies, ...photo.similar].join("\n") }),
      score,
    );
    this.#place(tile, index);
    image.src = thumbnail(photo, width, height);
    this.tiles.set(index, tile);
    // In the order of the photographs, which is the order of the keyboard and of screen readers.
    const next = [...this.tiles.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
    this.element.insertBefore(tile, next === undefined ? null : this.tiles.get(next));
  }

  #name(photo) {
    const parts = [fileName(photo.path)];
    const shown = (region) => (region.for?.startsWith("like ") ? region.phrase : region.for) || region.phrase;
    const found = [...new Set((photo.regions ?? []).map(shown))].filter(Boolean);
    if (found.length) parts.push(`shows ${found.join(", ")}`);
    if (photo.probability !== undefined) parts.push(percent(photo.probability));
    if (photo.taken) parts.push(`taken ${photo.taken.slice(0, 10)}`);
    const copies = (photo.copies?.length ?? 0) + (photo.similar?.length ?? 0);
    if (copies) parts.push(`and ${counted(copies, "copy", "copies")}`);
    return parts.join(", ");
  }

  #place(tile, index) {
    const { left, top, width, height } = this.layout.tiles[index];
    Object.assign(tile.style, { transform: `translate(${left}px, ${top}px)`, width: `${width}px`, height: `${height}px` });
    tile.setAttribute("aria-setsize", this.photos.length);
  }

  #indexOf(event) {
    const tile = event.target.closest?.(".tile");
    return tile ? Number(tile.dataset.index) : -1;
  }

  #focused(event) {
    const index = this.#indexOf(event);
    if (index < 0 || index === this.current) return;
    this.tiles.get(this.current)?.querySelector("a").setAttribute("tabindex", "-1");
    this.current = index;
    this.tiles.get(index)?.querySelector("a").setAttribute("tabindex", "0");
  }

  #click(event) {
    const index = this.#indexOf(event);
    if (index < 0) return;
    const { selection } = this.options;
    if (event.target.closest("input")) {
      selection.choose(this.photos, index, event.shiftKey);
    } else if (event.shiftKey) {
      event.preventDefault();
      event.stopPropagation();
      selection.choose(this.photos, index, true);
    } else if (selection.size && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.stopPropagation();
      selection.choose(this.photos, index, false);
    }
  }

  #key(event) {
    const index = this.#indexOf(event);
    if (index < 0 || event.altKey) return;
    const { selection } = this.options;
    if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key) && !event.ctrlKey) {
      event.preventDefault();
      const next = neighbour(this.layout, index, event.key);
      if (event.shiftKey) selection.extend(this.photos, index, next);
      const before = this.current;
      this.focus(next);
      if (before !== next) this.tiles.get(before)?.querySelector("a").setAttribute("tabindex", "-1");
      this.tiles.get(next)?.querySelector("a").setAttribute("tabindex", "0");
    } else if (event.key === " ") {
      event.preventDefault();
      selection.choose(this.photos, index, event.shiftKey);
    } else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      selection.addAll(this.photos);
    }
  }

  #showSelection() {
    for (const [index, tile] of this.tiles) {
      const selected = this.options.selection.has(this.photos[index].photo_id);
      tile.classList.toggle("selected", selected);
      tile.querySelector("input").checked = selected;
    }
  }
}

/** How high rows should be: three photographs in one on a telephone, and larger ones on a large screen. */
export function rowHeight(width) {
  return width < 500 ? 120 : Math.min(Math.max(width / 7, 170), 340);
}

function broken(tile, link) {
  tile.classList.add("broken");
  link.append(element("span", { class: "gone", text: "The file is not there any more, or cannot be shown" }));
}

function scoreBar(photo) {
  const share = Math.min(Math.max(photo.probability ?? photo.score, 0), 1);
  const told = photo.probability === undefined ? `Similarity ${photo.score.toFixed(2)}` : `Shows it with a probability of ${percent(photo.probability)}`;
  const fill = element("span");
  fill.style.width = `${Math.round(share * 100)}%`;
  return element("span", { class: "score", "aria-hidden": "true", title: told }, fill);
}

function rowAt(rows, y) {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle].top <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}
