// A complaint about a policy is shown at its place.

import assert from "node:assert/strict";
import { test } from "node:test";

const { placeIn } = await import(new URL("../../origin/web/json-place.js", import.meta.url));

const text = JSON.stringify(
  { "a/b": { "m~n": 1 }, text: 'a "burst": {in} a, [text]', roles: { free: { burst: 1 }, premium: { burst: [10, { x: 0 }, 30] } }, routes: [{ path: "/x" }, { path: "/y" }] },
  null,
  2,
);

const found = (complaint) => {
  const place = placeIn(text, complaint);
  return place && text.slice(place.from, place.to).replace(/\s+/g, " ");
};

test("a JSON pointer leads to its member", () => {
  for (const [pointer, shown] of [
    ["/roles/free/burst", '"burst": 1'],
    ["/roles/premium/burst/0", "10"],
    ["/roles/premium/burst/1/x", '"x": 0'],
    ["/roles/premium/burst/2", "30"],
    ["/routes/1/path", '"path": "/y"'],
    ["/routes/0", '{ "path": "/x" }'],
    ["/a~1b/m~0n", '"m~n": 1'],
    ["/text", String.raw`"text": "a \"burst\": {in} a, [text]"`],
  ]) assert.equal(found(`The policy is not valid: ${pointer}: must be otherwise.`), shown, pointer);
});

test("what is not there leads to the nearest that is", () => {
  assert.equal(found("The policy is not valid: /roles/free/requests: is missing."), '"free": { "burst": 1 }');
  assert.equal(found("The policy is not valid: /nothing: is missing."), null);
  assert.equal(found("The policy is too large."), null);
});

test("a line and a column lead to the line, whatever the text is", () => {
  assert.equal(found("The policy is not valid: expected value at line 1 column 1."), "{");
  assert.equal(found("The policy is not valid: expected value at line 3 column 9."), ' "m~n": 1');
  assert.equal(found("… at line 9999 column 1"), "}");
  assert.deepEqual(placeIn("", "EOF at line 1 column 0"), { from: 0, to: 0 });
  assert.equal(placeIn("{ half", "The policy is not valid: /roles/free: is missing."), null);
});
