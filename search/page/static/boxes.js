// Boxes over photographs, in the photograph's own pixels.

import { element } from "./dom.js";

// Colours that stand out on photographs, one for each thing that is asked for; a dark line around them does the rest.
export const COLOURS = 8;

/**
 * An overlay for a photograph.
 * @param {{width: number, height: number}} photo
 * @param {{box: number[], colour: number, label?: string, id?: number}[]} boxes box: x, y, width, height
 */
export function overlay(photo, boxes) {
  const drawn = boxes.map((each) => {
    const [x, y, width, height] = each.box;
    const place = { x, y, width, height, "vector-effect": "non-scaling-stroke" };
    return element(
      "g",
      { class: `box colour-${each.colour % COLOURS}`, data: each.id === undefined ? {} : { region: each.id } },
      element("rect", { class: "halo", ...place }),
      element("rect", { class: "line", ...place }),
    );
  });
  const viewBox = `0 0 ${photo.width} ${photo.height}`;
  return element("svg", { class: "boxes", viewBox, "aria-hidden": "true" }, drawn);
}

/** Which colour each phrase of an answer has. */
export function colours(hits) {
  const found = new Map();
  for (const hit of hits) for (const region of hit.regions ?? []) if (!found.has(region.for)) found.set(region.for, found.size);
  return found;
}
