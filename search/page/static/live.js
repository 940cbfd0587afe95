// What happens to the collection while the page is open: a build that runs, photographs that are new.

import { ask } from "./api.js";
import { counted } from "./dom.js";

const EVERY = 3000; // milliseconds between two looks
const QUIET = 20000; // so long after the last commit a build is taken to have ended
const MINUTE = 60000;

/** Says "change" with the collection's document whenever there is a new commit. */
export class Live extends EventTarget {
  constructor(line) {
    super();
    this.line = line;
    this.latest = null;
    this.seen = []; // [time, photographs] of commits of the last minute
    this.changedAt = -Infinity;
    this.failed = false;
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.look());
    this.timer = setInterval(() => document.visibilityState === "visible" && this.look(), EVERY);
  }

  /** Look now. */
  async look() {
    let now;
    try {
      now = await ask("/collection");
    } catch (error) {
      this.failed = true;
      this.#say(error.message, "warning");
      return;
    }
    const time = performance.now();
    const before = this.latest;
    this.latest = now;
    if (before && now.revision !== before.revision) {
      if (!this.seen.length) this.seen.push([this.lookedAt, before.photographs]);
      this.seen.push([time, now.photographs]);
      this.changedAt = time;
    }
    this.lookedAt = time;
    this.seen = this.seen.filter(([at]) => time - at < MINUTE);
    if (time - this.changedAt < QUIET) {
      const rate = Math.max(now.photographs - this.seen[0][1], 0);
      this.#say(`The collection grows: ${counted(now.photographs, "photograph")}, ${rate.toLocaleString("en")} of them new in the last minute.`, "running");
    } else this.#say("");
    if (!before || now.revision !== before.revision || this.failed) {
      this.failed = false;
      this.dispatchEvent(new CustomEvent("change", { detail: now }));
    }
  }

  #say(sentence, kind = "") {
    if (this.line.textContent === sentence) return;
    this.line.textContent = sentence;
    this.line.className = kind;
    this.line.hidden = !sentence;
  }
}
