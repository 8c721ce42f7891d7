// Where in a JSON text something stands, so that a complaint about it can be shown at its place.

/**
 * The part of `text` that `complaint` is about, as `{from, to}`: it names a line and a column, or
 * begins with a JSON pointer (RFC 6901) and a colon. Null if it names neither.
 */
export function placeIn(text, complaint) {
  const spot = /line (\d+) column (\d+)/.exec(complaint);
  if (spot) {
    const lines = text.split("\n");
    const line = Math.min(Number(spot[1]), lines.length) - 1;
    const from = lines.slice(0, line).join("\n").length + (line > 0 ? 1 : 0);
    return { from, to: from + lines[line].length };
  }
  const pointer = /(?:^|: )((?:\/[^/:\s]+)+): /.exec(complaint)?.[1];
  return pointer ? placeOf(text, pointer.slice(1).split("/").map(unescape)) : null;
}

const unescape = (step) => step.replaceAll("~1", "/").replaceAll("~0", "~");

/** Follows the steps of a pointer as far as there is something. */
function placeOf(text, steps) {
  if (parsed(text) === undefined) return null;
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  let place = null;
  const next = () => token.exec(text);

  // Reads one value, whose first token is given, and returns where it ends.
  function value(first, left) {
    const isObject = first[0] === "{";
    if (!isObject && first[0] !== "[") return token.lastIndex;
    for (let index = 0, part = next(); part[0] !== "}" && part[0] !== "]"; index += 1, part = next()) {
      if (part[0] === ",") part = next();
      const from = part.index;
      const name = isObject ? parsed(part[0]) : String(index);
      if (isObject) {
        next();
        part = next();
      }
      const isWanted = left !== null && left[0] === name;
      if (isWanted) place = { from, to: from };
      const mine = place;
      const to = value(part, isWanted ? left.slice(1) : null);
      // What stands deeper is nearer to what is meant.
      if (isWanted && place === mine) place = { from, to };
    }
    return token.lastIndex;
  }

  value(next(), steps);
  return place;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
