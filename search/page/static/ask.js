// The field for a question: suggestions from the collection's own phrases, and what leads from there to results.

import { ask as request } from "./api.js";
import { go, phrasesOf, resultsAddress, typed, words } from "./address.js";
import { announce, counted, element } from "./dom.js";

const WAIT = 120; // milliseconds after a key

/** Bring the form to life. asked: the question on the screen, whose filters stay. */
export function askForm(asked) {
  const form = document.getElementById("ask");
  const field = document.getElementById("question");
  const list = document.getElementById("suggestions");
  let chosen = -1;
  let waiting = 0;
  let latest = null;

  function submit(text) {
    close();
    const phrases = phrasesOf(text);
    const before = asked();
    const filters = phrases.length ? before.filters : {};
    go(resultsAddress({ ...words(phrases), filters, fold: before.fold, sort: before.sort }));
  }

  function close() {
    latest?.abort();
    clearTimeout(waiting);
    list.hidden = true;
    list.replaceChildren();
    chosen = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function choose(index) {
    const options = [...list.children];
    chosen = options.length ? (index + options.length) % options.length : -1;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    if (chosen >= 0) field.setAttribute("aria-activedescendant", options[chosen].id);
  }

  async function suggest() {
    // What is typed after the last quotation mark or comma is the phrase that goes on.
    const [, before, last] = field.value.match(/^(.*["“,]\s*)?([^"“”,]*)$/) ?? [null, null, ""];
    if (last.trim().length < 2) return close();
    latest?.abort();
    latest = new AbortController();
    let found;
    try {
      found = await request("/suggest", { q: last.trim() }, { signal: latest.signal });
    } catch {
      return close(); // suggestions are a courtesy: the question itself will say what is wrong
    }
    if (document.activeElement !== field || !found.length) return close();
    list.replaceChildren(
      ...found.map(({ phrase, photographs }, index) =>
        element(
          "li",
          { role: "option", id: `suggestion-${index}`, "aria-selected": "false", data: { text: (before ?? "") + phrase } },
          element("span", { text: phrase }),
          element("span", { class: "count", text: photographs.toLocaleString("en"), title: counted(photographs, "photograph") }),
        ),
      ),
    );
    chosen = -1;
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    announce(counted(found.length, "suggestion"));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(field.value);
  });
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(suggest, WAIT);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "ArrowDown" && !list.hidden) {
      event.preventDefault();
      choose(chosen + 1);
    } else if (event.key === "ArrowUp" && !list.hidden) {
      event.preventDefault();
      choose(chosen - 1);
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      field.value = list.children[chosen].dataset.text;
      submit(field.value);
    }
  });
  field.addEventListener("blur", () => close());
  list.addEventListener("pointerdown", (event) => {
    const option = event.target.closest("[role=option]");
    event.preventDefault(); // the field keeps the keyboard
    if (option) {
      field.value = option.dataset.text;
      submit(field.value);
    }
  });
}

/** Show a question in the field. */
export function showQuestion(asked) {
  document.getElementById("question").value = typed(asked.phrases);
}
