// Rows of photographs that fill the width, as a printed album has them: pure arithmetic.

/**
 * Lay out photographs in rows.
 * @param {{width: number, height: number}[]} photos in any unit
 * @param {number} width of the rows, pixels
 * @param {number} target height of a row, pixels
 * @param {number} gap between photographs, pixels
 * @returns {{tiles: {left: number, top: number, width: number, height: number, row: number}[],
 *   rows: {top: number, height: number, first: number, last: number}[], height: number}}
 */
export function justify(photos, width, target, gap) {
  const tiles = [];
  const rows = [];
  let top = 0;
  let first = 0;
  while (first < photos.length) {
    let ratios = 0;
    let last = first;
    for (; last < photos.length; last++) {
      ratios += ratio(photos[last]);
      if (ratios * target + (last - first) * gap >= width) break;
    }
    const full = last < photos.length;
    if (!full) last = photos.length - 1;
    const room = width - (last - first) * gap;
    // The last row keeps the height that the others aim at, and stays ragged.
    const height = full ? Math.min(room / ratios, target * 1.6) : Math.min(target, room / ratios);
    let left = 0;
    for (let i = first; i <= last; i++) {
      const tile = { left, top, width: ratio(photos[i]) * height, height, row: rows.length };
      tiles.push(tile);
      left += tile.width + gap;
    }
    rows.push({ top, height, first, last });
    top += height + gap;
    first = last + 1;
  }
  return { tiles, rows, height: Math.max(top - gap, 0) };
}

// A panorama would be a row of a few pixels, a strip a column: they are shown as if they were less extreme.
function ratio(photo) {
  return Math.min(Math.max(photo.width / photo.height, 0.4), 4);
}

/** The tile beside, above or below another one; the same where there is none. */
export function neighbour({ tiles, rows }, index, key) {
  const tile = tiles[index];
  if (!tile) return 0;
  if (key === "ArrowLeft") return Math.max(index - 1, 0);
  if (key === "ArrowRight") return Math.min(index + 1, tiles.length - 1);
  if (key === "Home") return 0;
  if (key === "End") return tiles.length - 1;
  const row = rows[tile.row + (key === "ArrowUp" ? -1 : 1)];
  if (!row) return index;
  const middle = tile.left + tile.width / 2;
  let best = row.first;
  for (let i = row.first; i <= row.last; i++) {
    if (distance(tiles[i], middle) < distance(tiles[best], middle)) best = i;
  }
  return best;
}

function distance(tile, x) {
  return Math.abs(tile.left + tile.width / 2 - x);
}
