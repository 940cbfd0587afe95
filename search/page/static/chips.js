// How a question was read, as chips: each can be taken away or said otherwise.

import { fileName, element, icon } from "./dom.js";
import { go, isAsked, isExample, resultsAddress } from "./address.js";

const CROSS = "M6 6l12 12M18 6L6 18";
const NAMES = { under: "in", after: "from", before: "before", camera: "", orientation: "" };

/**
 * The chips of a question.
 * @param {import("./address.js").Question} asked
 * @param {object} reading things, without, readings, unknown_words and relation, as the server read them
 */
export function chips(asked, reading) {
  const made = [];
  const things = reading?.things ?? asked.phrases;
  const without = reading?.without ?? asked.without;
  const where = (reading?.relations ?? []).map((relation) => relation.text);
  // Said otherwise, a question becomes what it was read as.
  const again = (phrases, unwanted, said = where) => go(resultsAddress({ ...asked, phrases: withCounts(phrases, reading?.counts), where: said, without: unwanted, asTyped: false, all: false }));
  const but = (list, index, instead) => (instead ? list.map((each, i) => (i === index ? instead : each)) : list.filter((_, i) => i !== index));
  things.forEach((thing, index) => {
    const many = reading?.counts?.[thing];
    // How the thing lies goes with it.
    const others = where.filter((said) => !said.includes(thing));
    const alone = things.length === 1 && !isExample(asked);
    made.push(
      chip({
        kind: `thing colour-${index % 8}`,
        prefix: many ? `${many} ×` : "",
        text: thing,
        edit: (text) => (text || !alone) && again(but(things, index, text), without, text ? where.map((said) => said.replace(thing, text)) : others),
        remove: alone ? null : () => again(but(things, index), without, others),
      }),
    );
  });
  where.forEach((said, index) => {
    made.push(chip({ kind: "relation", text: said, edit: (text) => again(things, without, but(where, index, text)), remove: () => again(things, without, but(where, index)) }));
  });
  without.forEach((phrase, index) => {
    made.push(chip({ kind: "not", prefix: "not", text: phrase, edit: (text) => again(things, but(without, index, text)), remove: () => again(things, but(without, index)) }));
  });
  if (isAsked(asked)) made.push(adder(again, things, without));
  for (const [name, value] of Object.entries(asked.filters)) {
    const { [name]: _, ...rest } = asked.filters;
    const text = name === "under" ? fileName(value) || value : value;
    made.push(chip({ kind: "filter", prefix: NAMES[name], text, title: value, remove: () => go(resultsAddress({ ...asked, filters: rest })) }));
  }
  for (const [word, meant] of Object.entries(reading?.readings ?? {})) {
    made.push(
      element(
        "span",
        { class: "chip note" },
        element("span", {}, element("s", { text: word }), ` read as ${meant}`),
        element("button", { type: "button", class: "link", text: "undo", "aria-label": `Read ${word} as it is typed`, on: { click: () => go(resultsAddress({ ...asked, asTyped: true })) } }),
      ),
    );
  }
  if (asked.asTyped) {
    made.push(chip({ kind: "note", text: "every word as typed", remove: () => go(resultsAddress({ ...asked, asTyped: false })) }));
  }
  for (const word of reading?.untold ?? []) {
    made.push(element("span", { class: "chip note warning", text: `“${word}”: no box can tell` }));
  }
  for (const word of reading?.unknown_words ?? []) {
    made.push(element("span", { class: "chip note warning", text: `“${word}” is in no photograph that was learnt from` }));
  }
  return element("ul", { class: "chips", "aria-label": "How the question was read" }, made.map((each) => element("li", {}, each)));
}

// Numbers of things are read in one sentence only: "2 cup and a cat".
function withCounts(things, counts = {}) {
  if (!things.some((thing) => counts[thing])) return things;
  const said = (thing) => (counts[thing] ? `${counts[thing].replace(/^at least .*/, "several")} ${thing.replace(/^an? /, "")}` : thing);
  return [things.map(said).join(" and ")];
}

function chip({ kind, prefix = "", text, title = null, edit = null, remove = null }) {
  const made = element("span", { class: `chip ${kind}`, title });
  const label = [prefix && element("span", { class: "prefix", text: `${prefix} ` }), text];
  const shown = edit
    ? element("button", { type: "button", class: "text", "aria-label": `Change ${prefix} ${text}`.replace("  ", " "), on: { click: () => change() } }, label)
    : element("span", { class: "text" }, label);
  const cross =
    remove &&
    element("button", { type: "button", class: "cross", "aria-label": `Without “${prefix ? `${prefix} ` : ""}${text}”`, title: "Take away", on: { click: remove } }, icon(CROSS));
  made.append(shown, ...(cross ? [cross] : []));

  function change() {
    const field = element("input", { type: "text", value: text, "aria-label": `Instead of ${text}`, maxlength: 200, size: Math.max(text.length, 6) });
    const form = element("form", { class: "text", on: { submit: (event) => (event.preventDefault(), edit(field.value.trim())) } }, field);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      form.replaceWith(shown);
      shown.focus();
    });
    field.addEventListener("blur", () => form.isConnected && form.replaceWith(shown));
    shown.replaceWith(form);
    field.select();
    field.focus();
  }
  return made;
}

// "+ thing", "+ not": what else must be there, or must not.
function adder(again, things, without) {
  const made = element("span", { class: "chip adder" });
  const open = (label, done) => {
    const field = element("input", { type: "text", "aria-label": label, placeholder: label, maxlength: 200, size: 14 });
    const form = element("form", { class: "text", on: { submit: (event) => (event.preventDefault(), field.value.trim() && done(field.value.trim())) } }, field);
    const close = () => form.isConnected && form.replaceWith(...buttons);
    field.addEventListener("blur", close);
    field.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), close(), buttons[0].focus()));
    made.replaceChildren(form);
    field.focus();
  };
  const button = (text, label, done) => element("button", { type: "button", class: "text", text, "aria-label": label, on: { click: () => open(label, done) } });
  const buttons = [
    button("+ and", "Another thing that must be there", (text) => again([...things, text], without)),
    button("+ not", "A thing that must not be there", (text) => again(things, [...without, text])),
  ];
  made.append(...buttons);
  return made;
}

