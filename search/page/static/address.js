// What is asked, in the address: everything that is on the screen can be sent to somebody or kept as a bookmark.

/**
 * A question.
 * @typedef {object} Question
 * @property {string[]} phrases as typed; several: all must be there
 * @property {string[]} where how things lie: "a dog left of a child"
 * @property {string[]} without what the photographs must not show
 * @property {boolean} asTyped no word is read as another one
 * @property {boolean} all also the less likely ones
 * @property {boolean} fold photographs that look the same are one
 * @property {string} sort "score" or "date"
 * @property {Object<string, string>} filters under, after, before, camera, orientation
 * @property {string|null} region id of a region that photographs should be like
 * @property {string|null} photo id of a photograph that they should be like
 * @property {string|null} box x,y,width,height in that photograph
 */

export const FILTERS = ["under", "after", "before", "camera", "orientation"];

/** @returns {Question} */
export function question(search = window.location.search) {
  const query = new URLSearchParams(search);
  const filters = {};
  for (const name of FILTERS) if (query.get(name)) filters[name] = query.get(name);
  return {
    phrases: query.getAll("q").map((phrase) => phrase.trim()).filter(Boolean),
    where: query.getAll("where").map((said) => said.trim()).filter(Boolean),
    without: query.getAll("not").map((phrase) => phrase.trim()).filter(Boolean),
    asTyped: query.has("as_typed"),
    all: query.has("all"),
    fold: query.has("fold"),
    sort: query.get("sort") === "date" ? "date" : "score",
    filters,
    region: query.get("region"),
    photo: query.get("photo"),
    box: query.get("box"),
  };
}

/** Whether anything is asked at all. */
export function isAsked(asked) {
  return asked.phrases.length > 0 || isExample(asked);
}

/** Whether photographs like another one are asked for. */
export function isExample(asked) {
  return asked.region !== null || asked.photo !== null;
}

/** The part of an address behind the "?". @param {Question} asked */
export function toQuery(asked) {
  const query = new URLSearchParams();
  for (const phrase of asked.phrases) query.append("q", phrase);
  for (const said of asked.where) query.append("where", said);
  for (const phrase of asked.without) query.append("not", phrase);
  if (asked.asTyped) query.append("as_typed", "1");
  if (asked.all) query.append("all", "1");
  if (asked.fold) query.append("fold", "1");
  if (asked.sort === "date") query.append("sort", "date");
  for (const name of FILTERS) if (asked.filters[name]) query.append(name, asked.filters[name]);
  for (const name of ["region", "photo", "box"]) if (asked[name]) query.append(name, asked[name]);
  return query.toString();
}

/** The address of a question's results. @param {Question} asked */
export function resultsAddress(asked) {
  const query = toQuery(asked);
  if (!isAsked(asked)) return "/";
  return `${isExample(asked) ? "/like" : "/search"}?${query}`;
}

/** The address of a photograph among the results of a question. */
export function photoAddress(photoId, asked) {
  const query = toQuery(asked);
  return `/photo/${photoId}${query ? `?${query}` : ""}`;
}

/** A question of words alone. */
export function words(phrases, without = []) {
  return { phrases, where: [], without, asTyped: false, all: false, fold: false, sort: "score", filters: {}, region: null, photo: null, box: null };
}

/** A question by example: {region}, or {photo, box}. */
export function example(like) {
  return { ...words([]), ...like };
}

/** What is typed, as phrases: "dog on couch" is one; `"a dog" "a couch"`, in quotation marks, are two. */
export function phrasesOf(text) {
  const quoted = [...text.matchAll(/["“”]([^"“”]+)["“”]/g)].map((match) => match[1].trim()).filter(Boolean);
  const rest = text.replace(/["“”][^"“”]*["“”]/g, "").replace(/["“”]/g, "").trim();
  if (quoted.length === 0) return rest ? [rest] : [];
  return rest ? [...quoted, rest] : quoted;
}

/** Phrases as they would be typed. */
export function typed(phrases) {
  return phrases.length === 1 ? phrases[0] : phrases.map((phrase) => `"${phrase}"`).join(" ");
}

/** Go to an address of this page. replace: the back button does not come back to where we are. */
export function go(target, { replace = false } = {}) {
  if (replace) history.replaceState(history.state, "", target);
  else history.pushState({ inside: true }, "", target);
  window.dispatchEvent(new Event("addresschange"));
}
