// Requests to the server. Whatever goes wrong is a sentence.

const ROOT = "/api/v1";

/** An error that people can read. */
export class ApiError extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

/** The address of something in the API. params: values by name, or lists of them; empty ones are left out. */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "" && each !== false) query.append(name, each === true ? "1" : each);
    }
  }
  const text = query.toString();
  return ROOT + path + (text ? `?${text}` : "");
}

/** The document of an answer. Throws ApiError; an aborted request throws what fetch does. */
export async function ask(path, params, options = {}) {
  let reply;
  try {
    reply = await fetch(address(path, params), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer: is `search serve` still running?");
  }
  let answer = null;
  try {
    answer = await reply.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // Not from this server, or cut off.
  }
  if (!reply.ok || answer === null) throw new ApiError(answer?.error ?? "The server gave no answer that can be read.", reply.status);
  return answer;
}

/** The address of a thumbnail at least as large as a box of this many CSS pixels, if the photograph is. */
export function thumbnail(photo, width, height) {
  const wanted = Math.max(width, height) * Math.min(window.devicePixelRatio || 1, 3);
  const side = [256, 512, 1024, 2048, 4096].find((each) => each >= wanted * 0.9) ?? 4096;
  return address(`/photos/${photo.photo_id}/thumbnail/${side}`, { v: photo.version });
}

/** Send a form, for the browser to download what comes. fields: [name, value] pairs. */
export function download(path, params, fields) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = address(path, params);
  form.hidden = true;
  for (const [name, value] of fields) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
