// Runs the JavaScript of docs/SECURITY.md on one sealed header, as a service would, and prints whom it names.
//
// Takes a JSON object on standard input: the manual's text, the header, method, target, algorithm and key (base64url).

import { rm, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { importJWK } from "jose";

const given = JSON.parse(await text(process.stdin));
const [, code] = given.manual.match(/```js\n(.*?)```/s);
// Beside this file, so that it finds the library.
const file = new URL(`manual-${process.pid}.mjs`, import.meta.url);
await writeFile(file, code);
try {
  const { caller } = await import(file);
  const key =
    given.algorithm === "EdDSA"
      ? await importJWK({ kty: "OKP", crv: "Ed25519", x: given.key }, "EdDSA")
      : Buffer.from(given.key, "base64url");
  const headers = { "x-cosygate-identity": given.header };
  const { user, role } = await caller(headers, given.method, given.target, key, given.algorithm);
  console.log(JSON.stringify([user, role]));
} finally {
  await rm(file);
}
