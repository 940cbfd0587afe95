// What the keys do, and how to ask.

import { element } from "./dom.js";

const KEYS = [
  ["Everywhere", [["/", "to the question"], ["?", "this help"], ["Escape", "back, or select nothing"]]],
  ["Photographs in rows", [["← → ↑ ↓", "to the next one"], ["Enter", "open"], ["Space", "select"], ["Shift ← →", "select several"], ["Ctrl A", "select all"]]],
  [
    "One photograph",
    [["← →", "the one before, the next one"], ["+ − 0", "larger, smaller, all of it"], ["Shift ← → ↑ ↓", "move it"], ["r", "show all boxes"], ["b", "search with a box: arrow keys move it, with Shift they change its size, Enter searches"], ["Space", "select"]],
  ],
];
const ASKING = [
  ["dog on a couch", "a sentence: its things may be in different places of a photograph"],
  ['"red lamp" "wooden table"', "phrases in quotation marks: all of them must be there"],
  ["beach without people", "without, no, or - before a word: what must not be there"],
  ["photographs of a cat", "what only says that something is asked for is left away"],
];

/** Fill the dialog, and have its button and the key ? open it. */
export function help(dialog, button) {
  const list = (entries, tag) => element("dl", {}, entries.map(([name, text]) => [element("dt", {}, element(tag, { text: name })), element("dd", { text })]));
  const close = element("button", { type: "button", class: "main", text: "Close", on: { click: () => dialog.close() } });
  dialog.append(
    element("h2", { id: "help-title", text: "Help" }),
    element("h3", { text: "Asking" }),
    list(ASKING, "code"),
    ...KEYS.flatMap(([title, entries]) => [element("h3", { text: title }), list(entries, "kbd")]),
    close,
  );
  const open = () => !dialog.open && dialog.showModal();
  button.addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !event.target.closest("input, textarea")) {
      event.preventDefault();
      open();
    }
  });
}
