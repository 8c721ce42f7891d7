// The description of the API, as a person reads it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertNothingLeft, base, openPage } from "./harness.mjs";

test("the description of the API can be read, on a phone too", async () => {
  const manual = await openPage({}, "docs");
  await manual.setViewportSize({ width: 390, height: 800 });
  await manual.locator("#state").waitFor({ state: "hidden" });
  const { paths } = await (await fetch(new URL("/openapi.json", base))).json();
  const wanted = Object.values(paths).flatMap((methods) => Object.values(methods)).map((one) => one.operationId);
  const drawn = await manual.locator("article[id]").evaluateAll((articles) => articles.map((article) => article.id));
  assert.deepEqual(wanted.filter((id) => !drawn.includes(id)), []);
  const generate = await manual.locator("#post_api_generate").innerText();
  for (const part of ["POST", "/api/generate", "text", "quota_exhausted", "curl", "Idempotency-Key"])
    assert.ok(generate.includes(part), `${part}: ${generate}`);
  const [width, inner] = await manual.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(width <= inner, `${width} > ${inner}`);
  await manual.context().close();
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
