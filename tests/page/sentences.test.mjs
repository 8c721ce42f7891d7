// Both languages say the same things, and everything that the page asks for is said.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";

// What i18n.js looks at when it begins.
Object.defineProperty(globalThis, "navigator", { value: { language: "en", languages: ["en"] }, configurable: true });
globalThis.localStorage = { getItem: () => null };

const web = new URL("../../origin/web/", import.meta.url);
const { sentences } = await import(new URL("i18n.js", web));

test("every sentence has its other language, with the same gaps", () => {
  assert.deepEqual(Object.keys(sentences.zh).toSorted(), Object.keys(sentences.en).toSorted());
  const gaps = (sentence) => (sentence.match(/\{\w+\}/g) ?? []).toSorted();
  for (const [key, sentence] of Object.entries(sentences.en)) assert.deepEqual(gaps(sentences.zh[key]), gaps(sentence), key);
});

test("no key is asked for that has no sentence", async () => {
  const files = (await readdir(web)).filter((name) => /\.(js|html)$/.test(name));
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, web), "utf8")));
  const asked = texts.flatMap((text) => [
    ...text.matchAll(/\bt\("(\w+)"/g),
    ...text.matchAll(/\b(?:i18n|label|placeholder|empty): "(\w+)"/g),
    ...text.matchAll(/data-i18n(?:-label|-placeholder)?="(\w+)"/g),
    ...text.matchAll(/\b(?:field|button|timeOf|new Panel|makeDialog|new ShownOnce)\((?:"(?:quiet|link|secondary|primary|danger)", |[\w.]+, )?"(?!(?:quiet|link|secondary|primary|danger)")(\w+)"/g),
  ].map((match) => match[1]));
  assert.ok(asked.length > 200, `only ${asked.length} found`);
  assert.deepEqual([...new Set(asked)].filter((key) => !Object.hasOwn(sentences.en, key)), []);
});
