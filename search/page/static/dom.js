// Elements in one line. Text is always text: nothing here, or anywhere on the page, makes HTML of strings.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "g", "path", "line", "circle", "title"]);

/**
 * An element.
 * @param {string} tag
 * @param {object} properties attributes by name; `class`, `text`, `on` ({event: listener}) and `data` are themselves;
 *   false, null and undefined are left out, true is an attribute without a value
 * @param {...(Node|string|null|undefined|false|Array)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "data") Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** An icon of 24 x 24 made of paths. */
export function icon(...paths) {
  return element("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, ...paths.map((d) => element("path", { d })));
}

/** A button with an icon; its label is its name and its tooltip. */
export function iconButton(label, paths, click, properties = {}) {
  const on = { click };
  return element("button", { type: "button", class: "icon", "aria-label": label, title: label, on, ...properties }, icon(...paths));
}

/** Have screen readers say something. */
export function announce(sentence) {
  document.getElementById("announcer").textContent = sentence;
}

/** A number with its noun. */
export function counted(number, one, several = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}

/** A probability for people. */
export function percent(probability) {
  const share = 100 * probability;
  return share > 0 && share < 1 ? "< 1 %" : `${Math.round(share)} %`;
}

/** The last part of a path. */
export function fileName(path) {
  return path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
}

/** All of a path but its last part. */
export function folderOf(path) {
  return path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"))) || "/";
}
