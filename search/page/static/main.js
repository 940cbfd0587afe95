// Which view belongs to the address, and what holds for all of them.

import { askForm } from "./ask.js";
import { go, question } from "./address.js";
import { CollectionView } from "./collection.js";
import { help } from "./help.js";
import { Live } from "./live.js";
import { PhotoView } from "./photo.js";
import { Results } from "./results.js";
import { Selection, selectionBar } from "./selection.js";

const view = document.getElementById("view");
const live = new Live(document.getElementById("progress"));
const selection = new Selection();
const results = new Results(view, selection, live);
const photo = new PhotoView(document.getElementById("overlay"), results, selection);
const collection = new CollectionView(view, live);
let behind = null; // what is shown, or stands behind a photograph: "results", "collection", "api"

let actions = 0; // keys and clicks so far

history.scrollRestoration = "manual";
for (const kind of ["keydown", "pointerdown"]) window.addEventListener(kind, () => actions++, { capture: true });

async function show({ first = false } = {}) {
  const path = location.pathname;
  const before = actions;
  const opened = path.match(/^\/photo\/(\d+)$/);
  if (opened) {
    if (behind === null || behind === "results") {
      behind = "results";
      results.show();
    }
    await photo.show(Number(opened[1]));
    return;
  }
  if (photo.isOpen) photo.close();
  const part = path.match(/^\/collection(?:\/(\w+))?$/);
  const next = part ? "collection" : path === "/api-docs" ? "api" : "results";
  if (next !== "results") results.leave();
  if (next !== "collection") collection.leave();
  behind = next;
  if (next === "collection") document.getElementById("to-collection").setAttribute("aria-current", "page");
  else document.getElementById("to-collection").removeAttribute("aria-current");
  if (next === "results") {
    const shown = results.key;
    await results.show();
    if (shown === results.key) return; // it was there behind a photograph
  } else if (next === "collection") await collection.show(part[1] ?? "");
  else await (await import("./api_docs.js")).showApi(view);
  if (first) return;
  window.scrollTo(0, history.state?.scroll ?? 0);
  // Unless somebody has gone on meanwhile, the keyboard is where the new things begin.
  if (actions === before) view.querySelector("h1")?.focus({ preventScroll: true });
}

window.addEventListener("addresschange", () => show());
window.addEventListener("popstate", () => show());

// Where the window was, for the back button.
let scrolled = 0;
window.addEventListener(
  "scroll",
  () => {
    clearTimeout(scrolled);
    scrolled = setTimeout(() => !photo.isOpen && history.replaceState({ ...history.state, scroll: window.scrollY }, ""), 150);
  },
  { passive: true },
);

// Links to this page's own views change the view, not the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const target = new URL(link.href);
  const own = target.origin === location.origin && !target.pathname.startsWith("/api/") && !link.target && !link.hasAttribute("download");
  if (!own || link.classList.contains("skip")) return;
  event.preventDefault();
  go(target.pathname + target.search);
});

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !photo.isOpen) {
    event.preventDefault();
    document.getElementById("question").select();
    document.getElementById("question").focus();
  } else if (event.key === "Escape" && !photo.isOpen) selection.clear();
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // Storage is switched off: the choice holds until the page is closed.
  }
});

// A photograph from outside as a question: chosen, or dropped anywhere.
const file = document.getElementById("photo-file");
async function searchWith(chosen) {
  if (!chosen) return;
  if (photo.isOpen || behind !== "results") {
    go("/");
    await results.loading;
  }
  results.showUpload(chosen);
}
document.getElementById("by-photo").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  searchWith(file.files[0]);
  file.value = "";
});
document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  searchWith(event.dataTransfer.files[0]);
});

askForm(question);
help(document.getElementById("help"), document.getElementById("help-button"));
selectionBar(selection, document.getElementById("selection"));
show({ first: true });
live.look();
