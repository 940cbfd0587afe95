// The grid: what answers a question, or, where nothing is asked, what was added last.

import { ask, thumbnail } from "./api.js";
import { colours } from "./boxes.js";
import { example, go, isAsked, isExample, photoAddress, phrasesOf, question, resultsAddress, words } from "./address.js";
import { chips } from "./chips.js";
import { announce, counted, element, fileName, percent } from "./dom.js";
import { facets } from "./facets.js";
import { Grid, rowHeight } from "./grid.js";
import { showQuestion } from "./ask.js";

const SOON = 400; // milliseconds until more are asked for than the window shows: it has its pictures first
const MOST = 5000;
const PAGE = 200;

// What can be asked, by example.
const EXAMPLES = [
  ["dog on a couch", "things, wherever they are in a photograph"],
  ["beach without people", "and what must not be there"],
  ['"a red car" "a tree"', "several phrases: all of them, each in a place of its own"],
  ["a dog left of a child", "how they lie to each other"],
  ["a child in a blue jacket", "colours, clothes, what somebody does"],
];

/** The view of results. One for the page: it stays behind a photograph that is opened. Says "change" when it grows. */
export class Results extends EventTarget {
  /**
   * @param {HTMLElement} view
   * @param {import("./selection.js").Selection} selection
   * @param {import("./live.js").Live} live
   */
  constructor(view, selection, live) {
    super();
    this.view = view;
    this.selection = selection;
    this.live = live;
    this.key = null; // the question that is shown, as an address
    this.hits = [];
    this.latest = null;
    this.grids = [];
    live.addEventListener("change", (event) => this.#changed(event.detail));
  }

  /** Show the results of the question in the address, unless they are shown already. */
  async show() {
    const asked = question();
    const key = resultsAddress(asked);
    if (key === this.key) return this.loading;
    this.key = key;
    this.asked = asked;
    showQuestion(asked);
    this.loading = isAsked(asked) ? this.#ask(asked) : this.#browse();
    return this.loading;
  }

  /** Forget what is shown: another view has taken its place. */
  leave() {
    this.#clear();
    this.key = null;
  }

  /** The photograph before or after one in the order shown; null: there is none. */
  beside(photoId, step) {
    const index = this.hits.findIndex((hit) => hit.photo_id === photoId);
    if (index >= 0 && index + 2 * step >= this.hits.length) isAsked(this.asked) ? this.#more() : this.#browseOn();
    return index < 0 ? null : (this.hits[index + step] ?? null);
  }

  /** The hit of a photograph, with the regions that answer. */
  hit(photoId) {
    return this.hits.find((hit) => hit.photo_id === photoId) ?? null;
  }

  /** Where a photograph is in the order shown, [place, of how many]; null: it is not. */
  place(photoId) {
    const index = this.hits.findIndex((hit) => hit.photo_id === photoId);
    return index < 0 ? null : [index + 1, this.hits.length];
  }

  /** Bring a photograph to the window and the keyboard to it. */
  focus(photoId) {
    for (const grid of this.grids) {
      const index = grid.photos.findIndex((photo) => photo.photo_id === photoId);
      if (index >= 0) grid.focus(index);
    }
  }

  /** Results of a photograph from outside: they have no address of their own. */
  async showUpload(file) {
    this.key = "upload";
    this.asked = example({});
    const signal = this.#begin();
    this.#say(`Looking at ${file.name}: the first time takes some seconds …`);
    try {
      const answer = await ask("/like", { k: 200 }, { method: "POST", body: file, signal });
      const picture = element("img", { alt: "", src: URL.createObjectURL(file) });
      this.#showHits(answer, [element("p", { class: "about" }, picture, element("span", { text: `Photographs like ${file.name}` }))]);
    } catch (error) {
      if (error.name !== "AbortError") this.#fail(error);
    }
  }

  async #ask(asked) {
    const signal = this.#begin();
    document.title = title(asked);
    const waiting = setTimeout(() => signal.aborted || this.#say("Searching …"), 300);
    const key = this.key;
    try {
      const answer = await this.#first(asked, signal);
      clearTimeout(waiting);
      const said = chips(asked, answer.reading);
      const about = isExample(asked) ? [await this.#aboutExample(asked, answer), said] : [said];
      if (key !== this.key) return;
      this.#showHits(answer, about);
    } catch (error) {
      clearTimeout(waiting);
      if (error.name !== "AbortError") this.#fail(error);
    }
  }

  // The answers; and where less likely photographs are asked for, or nobody can say where answers stop, as many as the
  // window shows.
  async #first(asked, signal) {
    this.wanted = windowful();
    this.likely = null;
    this.stops = false;
    if (isExample(asked)) return this.#request(asked, { k: this.wanted }, signal);
    const answers = await this.#request(asked, { limit: asked.all ? null : this.wanted }, signal);
    if (answers.convincing === undefined) return this.#request(asked, { k: this.wanted }, signal);
    this.stops = !asked.all;
    if (this.stops) return answers;
    this.likely = new Set(answers.convincing ? answers.hits.map((hit) => hit.photo_id) : []);
    this.wanted += answers.hits.length;
    return this.#request(asked, { k: this.wanted }, signal);
  }

  #request(asked, { k = null, limit = null }, signal) {
    const options = { signal };
    const { phrases, where, without, asTyped, fold, filters } = asked;
    const parameters = { q: phrases, not: without, as_typed: asTyped, fold_similar: fold, ...filters, k };
    if (asked.region) return ask(`/regions/${encodeURIComponent(asked.region)}/like`, parameters, options);
    if (asked.photo) return ask(`/photos/${encodeURIComponent(asked.photo)}/like`, { box: asked.box, ...parameters }, options);
    return ask("/search", { where, limit, ...parameters }, options);
  }

  #showHits(answer, about) {
    this.answer = answer;
    this.asking = false;
    this.complete = this.stops ? answer.count <= this.wanted : answer.hits.length < this.wanted || this.wanted >= MOST;
    this.palette = colours(answer.hits);
    const heading = element("h1", { class: "summary", tabindex: -1 });
    this.summary = heading;
    this.sorting = arrangement(this.asked);
    this.rail = element("div", { class: "rail" });
    const body = element("div", { class: "body" });
    this.view.replaceChildren(element("div", { class: "asked" }, ...about, element("div", { class: "line" }, heading, this.sorting)), element("div", { class: "results" }, this.rail, body));
    this.body = body;
    this.#arrange();
    // A large collection is not read again for every question: an answer may be of a commit before the last one.
    if (this.key !== "upload" && answer.revision < this.revision) this.#offerNewAnswer();
    announce(heading.textContent);
  }

  // The hits in grids: those that answer, and below a line those that are less likely to.
  #arrange() {
    const { answer, asked } = this;
    const hits = answer.hits;
    const ordered = asked.sort === "date" ? newestFirst(hits) : hits;
    const likely = ordered.filter((hit) => this.likely?.has(hit.photo_id) ?? true);
    const others = ordered.filter((hit) => !(this.likely?.has(hit.photo_id) ?? true));
    this.hits = [...likely, ...others];
    this.summary.textContent = summary(asked, answer, this.complete, this.stops);
    this.sorting.hidden = hits.length < 2;
    const open = this.rail.querySelector("details")?.open;
    const panel = facets(asked, hits);
    panel.open = open ?? window.innerWidth >= 1100;
    this.rail.replaceChildren(panel);
    this.rail.hidden = panel.hidden;
    if (!this.grids.length) {
      const options = {
        selection: this.selection,
        address: (photo) => photoAddress(photo.photo_id, this.asked),
        boxes: (photo) => (photo.regions ?? []).map((region) => ({ box: region.box, id: region.region_id, colour: this.palette.get(region.for) ?? 0 })),
        nearEnd: () => this.#more(),
      };
      this.grids = [new Grid({ ...options, label: "Photographs found" }), new Grid({ ...options, label: "Less likely ones" })];
      this.stop = element("div", { class: "stop" });
      this.body.replaceChildren(this.grids[0].element, this.stop, this.grids[1].element);
    }
    for (const hit of hits) for (const region of hit.regions) if (!this.palette.has(region.for)) this.palette.set(region.for, this.palette.size);
    this.grids[0].show(likely);
    this.grids[1].show(others);
    this.grids[1].element.hidden = !others.length;
    this.#showStop(others.length);
    this.dispatchEvent(new Event("change"));
  }

  // Where answers stop.
  #showStop(shown) {
    const { asked, answer } = this;
    const next = answer.next ?? null;
    const parts = [];
    if (!answer.hits.length) parts.push(element("p", { class: "message", text: nothing(asked, answer) }));
    if (this.likely) {
      parts.push(element("p", { class: "divider", text: shown ? "Less likely ones" : "There are no others" }), element("a", { class: "button", href: resultsAddress({ ...asked, all: false }), text: "Hide less likely ones" }));
    } else if (next !== null && this.stops && this.complete) {
      parts.push(
        element("p", { class: "divider", text: `Answers stop here: the next photograph shows it with a probability of ${percent(next)}.` }),
        element("a", { class: "button", href: resultsAddress({ ...asked, all: true }), text: "Show less likely ones" }),
      );
    }
    if (answer.without?.length && answer.excluded?.length) {
      parts.push(element("p", { class: "small", text: `Left out: ${counted(answer.excluded.length, "photograph")} that may show ${answer.without.join(", ")}.` }));
    }
    this.stop.replaceChildren(...parts);
    this.stop.hidden = !parts.length;
  }

  async #more() {
    if (this.asking || this.complete || !this.answer || this.key === "upload") return;
    const wanted = Math.min(this.wanted * 4, MOST);
    if (wanted <= this.wanted) return;
    const { stops } = this;
    this.asking = true;
    const key = this.key;
    try {
      await new Promise((resolve) => setTimeout(resolve, SOON));
      if (key !== this.key) return;
      const answer = await this.#request(this.asked, stops ? {} : { k: wanted }, this.latest?.signal);
      if (key !== this.key) return;
      // What is shown keeps its place: the others come behind it.
      const shown = new Set(this.answer.hits.map((hit) => hit.photo_id));
      const added = answer.hits.filter((hit) => !shown.has(hit.photo_id));
      this.complete = stops || answer.hits.length < wanted;
      this.wanted = wanted;
      this.answer = { ...answer, hits: [...this.answer.hits, ...added] };
      this.#arrange();
    } catch {
      this.complete = true; // what is there stays there
    } finally {
      this.asking = false;
    }
  }

  async #aboutExample(asked, answer) {
    const photoId = answer.like.photo_id;
    const photo = await ask(`/photos/${photoId}`).catch(() => null);
    const regions = answer.like.regions;
    const whole = !asked.region && !asked.box;
    const text = whole ? "Photographs like this one" : `Photographs with something like this: ${regions.map((region) => region.phrase).join(", ")}`;
    const parts = [element("span", { text })];
    if (photo) parts.unshift(element("a", { href: photoAddress(photoId, words([])), "aria-label": `Open ${fileName(photo.path)}` }, crop(photo, whole ? null : (regions[0]?.box ?? null))));
    return element("div", { class: "about" }, parts);
  }

  // -- nothing asked

  async #browse() {
    const signal = this.#begin();
    document.title = "Photographs";
    const key = this.key;
    try {
      const page = await ask("/photos", { limit: PAGE }, { signal });
      if (key !== this.key) return; // somebody has gone on
      if (!page.photographs) {
        this.#showEmpty();
        return;
      }
      this.hits = page.photos;
      this.complete = page.photos.length < PAGE;
      this.grids = [
        new Grid({
          label: "Photographs, those added last first",
          selection: this.selection,
          address: (photo) => photoAddress(photo.photo_id, this.asked),
          nearEnd: () => this.#browseOn(),
        }),
      ];
      this.summary = element("h1", { class: "summary", tabindex: -1, text: counted(page.photographs, "photograph") });
      this.view.replaceChildren(examples(), element("div", { class: "line" }, this.summary), this.grids[0].element);
      this.grids[0].show(this.hits);
    } catch (error) {
      if (error.name !== "AbortError") this.#fail(error);
    }
  }

  async #browseOn() {
    if (this.asking || this.complete || !this.hits.length) return;
    this.asking = true;
    const key = this.key;
    try {
      const page = await ask("/photos", { limit: PAGE, before: this.hits.at(-1).photo_id });
      if (key !== this.key) return;
      this.complete = page.photos.length < PAGE;
      this.hits = [...this.hits, ...page.photos];
      this.grids[0]?.show(this.hits);
      this.dispatchEvent(new Event("change"));
    } catch {
      this.complete = true;
    } finally {
      this.asking = false;
    }
  }

  #showEmpty() {
    const command = "indexer build ~/Pictures";
    const copy = element("button", { type: "button", text: "Copy", on: { click: () => navigator.clipboard?.writeText(command).then(() => (copy.textContent = "Copied"), () => {}) } });
    this.view.replaceChildren(
      element(
        "section",
        { class: "message empty" },
        element("h1", { text: "There are no photographs here yet" }),
        element("p", { text: "Have a folder of photographs described, in a terminal:" }),
        element("p", { class: "command" }, element("code", { text: command }), copy),
        element("p", { text: "They appear here while it runs: this page need not be loaded again." }),
      ),
    );
  }

  // A new commit: what nobody has begun to look through is brought up to date at once.
  async #changed(collection) {
    const before = this.revision;
    this.revision = collection.revision;
    const key = this.key;
    if (key === null || key === "upload" || before === undefined || before === collection.revision) return;
    if (!isAsked(this.asked)) {
      const page = await ask("/photos", { limit: PAGE }).catch(() => null);
      if (!page || key !== this.key) return; // somebody has gone on
      if (!this.grids.length || !page.photographs) return void (await this.#browse());
      const fresh = new Set(page.photos.map((photo) => photo.photo_id));
      const last = page.photos.at(-1)?.photo_id ?? Infinity;
      this.hits = [...page.photos, ...this.hits.filter((photo) => photo.photo_id < last && !fresh.has(photo.photo_id))];
      this.summary.textContent = counted(page.photographs, "photograph");
      this.grids[0].show(this.hits);
    } else if (this.stop) this.#offerNewAnswer();
  }

  #offerNewAnswer() {
    if (this.view.querySelector(".renew")) return;
    const renew = element("button", { type: "button", class: "renew", text: "The collection has changed: ask again", on: { click: () => ((this.key = null), this.show()) } });
    this.view.querySelector(".asked .line")?.append(renew);
  }

  #say(sentence) {
    this.view.replaceChildren(element("p", { class: "message waiting", text: sentence }));
  }

  #fail(error) {
    this.#clear();
    const again = element("button", { type: "button", text: "Try again", on: { click: () => ((this.key = null), this.show()) } });
    const parts = [element("p", { text: error.message })];
    if (!error.status || error.status >= 500) parts.push(again);
    this.view.replaceChildren(element("section", { class: "message error", role: "alert" }, element("h1", { text: "That did not work" }), parts));
  }

  // Something new will be shown. Returns the signal that tells when it is not wanted any more.
  #begin() {
    this.#clear();
    this.latest = new AbortController();
    return this.latest.signal;
  }

  #clear() {
    this.latest?.abort();
    for (const grid of this.grids) grid.remove();
    this.grids = [];
    this.hits = [];
    this.answer = null;
    this.stop = null;
    this.asking = false;
    this.view.replaceChildren();
    window.scrollTo(0, 0);
  }
}

// How many photographs fill the window, and a little more.
function windowful() {
  const target = rowHeight(window.innerWidth);
  return Math.min(Math.max(Math.ceil((1.2 * window.innerWidth * window.innerHeight) / (target * target * 1.3)), 24), 150);
}

function title(asked) {
  return isExample(asked) ? "Photographs like this" : `${asked.phrases.join(", ")} – Photographs`;
}

function summary(asked, answer, complete, stops) {
  const count = stops && !complete ? answer.count : answer.hits.length;
  if (!count) return "Nothing found";
  if (answer.convincing === false && !asked.all) return `Nothing convincing: the closest ${count === 1 ? "one" : count}`;
  const more = complete || stops ? "" : " or more";
  return `${counted(count, "photograph")}${isExample(asked) ? " like it" : ""}${more}`;
}

function nothing(asked, answer) {
  if (answer.excluded?.length) return "Every photograph that was looked at was left out: take a “not” away.";
  if (Object.keys(asked.filters).length) return "No photograph passes what was narrowed down: take a chip away.";
  return "There are no photographs to search yet.";
}

function newestFirst(hits) {
  const dated = hits.filter((hit) => hit.taken).sort((a, b) => (a.taken < b.taken ? 1 : a.taken > b.taken ? -1 : 0));
  return [...dated, ...hits.filter((hit) => !hit.taken)];
}

// The order, and whether photographs that look the same are shown as one.
function arrangement(asked) {
  const arrange = (changes) => go(resultsAddress({ ...asked, ...changes }));
  const option = (value, text) => element("option", { value, text, selected: asked.sort === value });
  const order = element("select", { on: { change: (event) => arrange({ sort: event.target.value }) } }, option("score", "how well it answers"), option("date", "date, newest first"));
  const fold = element("input", { type: "checkbox", checked: asked.fold, on: { change: (event) => arrange({ fold: event.target.checked }) } });
  return element("div", { class: "arrangement" }, element("label", { title: "Bursts, other sizes" }, fold, " Similar ones as one"), element("label", {}, "Sort by ", order));
}

/** A part of a photograph as a picture. box: x, y, width, height; null: all of it. */
export function crop(photo, box, side = 64) {
  const [x, y, width, height] = box ?? [0, 0, photo.width, photo.height];
  const scale = side / Math.max(width, height);
  const frame = element("span", { class: "crop" });
  Object.assign(frame.style, { width: `${width * scale}px`, height: `${height * scale}px` });
  const image = element("img", { alt: "", src: thumbnail(photo, photo.width * scale, photo.height * scale) });
  Object.assign(image.style, { width: `${photo.width * scale}px`, height: `${photo.height * scale}px`, left: `${-x * scale}px`, top: `${-y * scale}px` });
  frame.append(image);
  return frame;
}

function examples() {
  const item = ([text, why]) => element("li", {}, element("a", { href: resultsAddress(words(phrasesOf(text))), text }), element("span", { text: why }));
  return element("details", { class: "examples", open: true }, element("summary", { text: "What can be asked" }), element("ul", {}, EXAMPLES.map(item)));
}
