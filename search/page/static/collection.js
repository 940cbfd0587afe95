// What the collection holds: counts and folders, its words, files that failed, photographs that are there twice.

import { ask, thumbnail } from "./api.js";
import { photoAddress, resultsAddress, words } from "./address.js";
import { counted, element, fileName, folderOf } from "./dom.js";

const PARTS = [
  ["", "Overview"],
  ["words", "Words"],
  ["errors", "Errors"],
  ["duplicates", "Duplicates"],
];
const AGAIN = 1500; // milliseconds until words that are being counted are asked for again

export class CollectionView {
  /** @param {HTMLElement} view @param {import("./live.js").Live} live */
  constructor(view, live) {
    this.view = view;
    this.part = null;
    live.addEventListener("change", () => this.part !== null && this.show(this.part, true));
  }

  leave() {
    this.part = null;
    clearTimeout(this.timer);
  }

  /** Show a part, "" for the overview. again: it is shown already, and is brought up to date. */
  async show(part, again = false) {
    const title = PARTS.find(([name]) => name === part)?.[1];
    this.part = part;
    clearTimeout(this.timer);
    if (!again) {
      document.title = `${title ?? "Collection"} – Photographs`;
      const links = PARTS.map(([name, text]) => element("a", { href: `/collection${name && `/${name}`}`, text, "aria-current": name === part ? "page" : null }));
      this.body = element("div", { class: "part" }, element("p", { class: "small", text: "…" }));
      this.view.replaceChildren(element("nav", { class: "tabs", "aria-label": "The collection" }, links), this.body);
    }
    const draw = { "": overview, words: wordList, errors: errorList, duplicates: duplicateList }[part];
    try {
      const made = draw ? await draw(this) : element("p", { class: "message", text: "There is no such part of the collection." });
      if (this.part === part && made) this.body.replaceChildren(...[made].flat());
    } catch (error) {
      if (this.part === part) this.body.replaceChildren(element("section", { class: "message error", role: "alert" }, element("h1", { text: "That did not work" }), element("p", { text: error.message })));
    }
  }

  later(part) {
    this.timer = setTimeout(() => this.part === part && this.show(part, true), AGAIN);
  }
}

async function overview() {
  const collection = await ask("/collection");
  if (!collection.exists) return [element("h1", { text: "The collection" }), element("p", { class: "message", text: collection.advice })];
  const failed = await ask("/collection/errors");
  const last = collection.last_build;
  return [
    element("h1", { text: "The collection" }),
    element("div", { class: "figures" }, figure(collection.photographs, "photographs"), figure(collection.regions, "regions")),
    failed.length > 0 && element("p", {}, element("a", { href: "/collection/errors", text: counted(failed.length, "file could not be used whole", "files could not be used whole") })),
    element("h2", { text: "Folders" }),
    element("ul", { class: "roots" }, collection.roots.map(root)),
    element("h2", { text: "Where it is" }),
    element("dl", {}, [
      fact("Collection", collection.collection, "path"),
      fact("Last build", last ? `${new Date(last.finished_at).toLocaleString("en-GB")}: ${lastBuild(last)}` : "none has finished yet"),
      fact("Checkpoint", collection.checkpoint.slice(0, 12)),
      fact("Program", collection.version),
    ]),
    element("p", { class: "small" }, "Programs can ask too: ", element("a", { href: "/api-docs", text: "the API" }), "."),
  ].filter(Boolean);
}

function figure(number, noun) {
  return element("p", { class: "figure" }, element("strong", { text: number.toLocaleString("en") }), ` ${noun}`);
}

function fact(name, value, kind = null) {
  return [element("dt", { text: name }), element("dd", { text: value, class: kind })];
}

function lastBuild(last) {
  const parts = ["new", "changed", "moved", "gone", "failed"].filter((name) => last[name]).map((name) => `${last[name].toLocaleString("en")} ${name}`);
  return `${parts.join(", ") || "nothing new"}, in ${last.seconds.toLocaleString("en")} s`;
}

function root({ path, present, left_out: leftOut }) {
  const others = Object.entries(leftOut).map(([kind, count]) => `${count.toLocaleString("en")} ${kind}`);
  return element(
    "li",
    {},
    element("span", { class: "path", text: path }),
    !present && element("span", { class: "warning", text: " is not there now" }),
    others.length > 0 && element("span", { class: "small", text: ` Left out: ${others.join(", ")}.` }),
  );
}

// -- words

let asCloud = false;

async function wordList(view) {
  const answer = await ask("/collection/words");
  if (!answer.counted) view.later("words");
  const field = element("input", { type: "search", "aria-label": "Find a word", placeholder: "Find a word", value: view.filter ?? "" });
  const list = element("div");
  const toggle = element("button", { type: "button", "aria-pressed": String(asCloud), text: "As a cloud", on: { click: () => ((asCloud = !asCloud), toggle.setAttribute("aria-pressed", String(asCloud)), draw()) } });
  const draw = () => {
    view.filter = field.value;
    const wanted = field.value.trim().toLowerCase();
    const nouns = answer.nouns.filter((noun) => !wanted || noun.noun.includes(wanted) || noun.phrases.some((each) => each.phrase.includes(wanted)));
    list.replaceChildren(nouns.length ? (asCloud ? cloud(nouns) : table(nouns)) : element("p", { class: "message", text: answer.counted ? "No such word." : "The words are being counted …" }));
  };
  field.addEventListener("input", draw);
  draw();
  return [
    element("h1", { text: "What the photographs show" }),
    element("p", { class: "small", text: "What the network wrote about regions, by the thing that it names. Anything else can be asked for too." }),
    element("p", { class: "line" }, field, toggle),
    list,
  ];
}

function cloud(nouns) {
  const most = nouns[0]?.photographs ?? 1;
  const some = nouns.slice(0, 200).sort((a, b) => (a.noun < b.noun ? -1 : 1));
  return element(
    "ul",
    { class: "cloud" },
    some.map((noun) => {
      const link = phraseLink(noun.noun, noun.phrases[0]?.phrase ?? noun.noun);
      link.style.fontSize = `${0.85 + 1.6 * Math.sqrt(noun.photographs / most)}rem`;
      link.title = counted(noun.photographs, "photograph");
      return element("li", {}, link);
    }),
  );
}

function table(nouns) {
  const rows = nouns.map((noun) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, phraseLink(noun.noun, noun.phrases[0]?.phrase ?? noun.noun)),
      element("td", { class: "number", text: noun.photographs.toLocaleString("en") }),
      element("td", {}, phrases(noun)),
    ),
  );
  const heads = ["Thing", "Photographs", "In these words"].map((text) => element("th", { scope: "col", text }));
  return element("table", { class: "words" }, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows));
}

function phrases(noun) {
  const links = noun.phrases.map(({ phrase, photographs }) => element("li", {}, phraseLink(phrase, phrase), element("span", { class: "count", text: photographs.toLocaleString("en") })));
  const list = element("ul", { class: "phrases" }, links.slice(0, 6));
  if (links.length > 6) {
    const more = element("button", { type: "button", class: "link", text: `${links.length - 6} more`, "aria-label": `${links.length - 6} more phrases with ${noun.noun}`, on: { click: () => (more.parentElement.remove(), list.append(...links.slice(6))) } });
    list.append(element("li", {}, more));
  }
  return list;
}

function phraseLink(text, phrase) {
  return element("a", { href: resultsAddress(words([phrase])), text });
}

// -- errors, duplicates

async function errorList() {
  const files = await ask("/collection/errors");
  const heading = element("h1", { text: files.length ? counted(files.length, "file could not be used whole", "files could not be used whole") : "Every file could be described" });
  if (!files.length) return heading;
  const rows = files.map((file) =>
    element("tr", {}, element("td", { class: "path" }, element("strong", { text: fileName(file.path) }), element("br"), element("span", { class: "small", text: folderOf(file.path) })), element("td", { text: file.reason }), element("td", { text: file.described ? "described as far as it goes" : "not described" })),
  );
  const heads = ["File", "Why", "What came of it"].map((text) => element("th", { scope: "col", text }));
  return [
    heading,
    element("p", { class: "small", text: "They are tried again once they change, or with `indexer build --retry`." }),
    element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Files" }, element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows))),
  ];
}

async function duplicateList() {
  const groups = await ask("/collection/duplicates");
  const heading = element("h1", { text: groups.length ? `${counted(groups.length, "photograph")} ${groups.length === 1 ? "is" : "are"} there more than once` : "No photograph is there twice" });
  const near = element("p", { class: "small", text: "Files of one content. Those that only look the same: `indexer duplicates --near`." });
  const shown = groups.map((group) => {
    const [photo] = group;
    const height = 110;
    const width = (photo.width / photo.height) * height;
    const image = element("img", { alt: "", loading: "lazy", width: Math.round(width), height, src: thumbnail(photo, width, height) });
    const paths = group.map((each) => element("li", {}, element("a", { class: "path", href: photoAddress(each.photo_id, words([])), text: each.path })));
    return element("li", { class: "group" }, image, element("ul", { class: "plain" }, paths));
  });
  return [heading, near, element("ul", { class: "groups" }, shown)];
}

