// One's own data: taken along, and erased.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";

import {
  asProgram, assertNothingLeft, focused, hasText, hook, known, logIn, logInTo, openPage, register, someone, visit,
} from "./harness.mjs";

const ada = someone();
let page;

before(async () => {
  page = await openPage();
  await register(page, ada);
  await visit(page, "account", "data");
});

test("an export is packed and fetched", async () => {
  await hasText(page, "export-state", "no archive yet");
  assert.equal(await hook(page, "export-download").isVisible(), false);
  await hook(page, "export-begin").click();
  await hasText(page, "export-state", "ready");
  assert.match(await hook(page, "export-state").innerText(), /MB.*Until/);
  const [download] = await Promise.all([page.waitForEvent("download"), hook(page, "export-download").click()]);
  assert.equal(await download.failure(), null);
  assert.match(download.suggestedFilename(), /^cosygate-.*\.zip$/);
  const bytes = await readFile(await download.path());
  assert.equal(bytes.subarray(0, 2).toString("latin1"), "PK");
  assert.ok(bytes.includes("about.json"));
});

test("how far an export is can be seen, and that one failed", async () => {
  let state = { state: "running", done: 13, total: 52 };
  await page.route("**/api/me/export", (route) =>
    route.fulfill({ json: { id: "1", created_at: "2026-11-23T12:00:00Z", bytes: null, expires_at: null, download_url: null, ...state } }),
  );
  await hook(page, "to-security").click();
  await hook(page, "to-data").click();
  await hasText(page, "export-state", "Packing");
  assert.equal(await hook(page, "export-progress").evaluate((progress) => progress.value), 0.25);
  assert.equal(await hook(page, "export-begin").isVisible(), false);
  state = { state: "failed", done: 13, total: 52 };
  await hasText(page, "export-state", "failed");
  assert.equal(await hook(page, "export-begin").isVisible(), true);
  await page.unroute("**/api/me/export");
});

test("erasing asks for the password and the name, and says what goes", async () => {
  await hook(page, "erase").click();
  await hook(page, "erase-dialog").waitFor();
  assert.equal(await focused(page), "erase-password");
  const said = await hook(page, "erase-dialog").innerText();
  for (const word of [/recordings/, /voices/, /tokens/, /audit/]) assert.match(said, word);
  await page.keyboard.press("Escape");
  assert.equal(await hook(page, "erase-dialog").isVisible(), false);
  assert.equal(await focused(page), "erase");

  await hook(page, "erase").click();
  await hook(page, "erase-dialog").waitFor();
  await hook(page, "confirm-erase").click();
  await hasText(page, "erase-mistake", "Enter your password");
  await hook(page, "erase-password").fill(ada.password);
  await hook(page, "erase-name").fill(`${ada.username}x`);
  await hook(page, "confirm-erase").click();
  await hasText(page, "erase-mistake", "not the username");
  await hook(page, "erase-password").fill(`${ada.password} not`);
  await hook(page, "erase-name").fill(ada.username);
  await hook(page, "confirm-erase").click();
  await hasText(page, "erase-mistake", "password is wrong");
  assert.equal((await asProgram("POST", "/login", { body: ada })).status, 200, "nothing is erased by then");
});

test("after it there is nobody any more", async () => {
  await hook(page, "erase-password").fill(ada.password);
  await hook(page, "erase-name").fill(ada.username);
  await hook(page, "confirm-erase").click();
  await hook(page, "login-form").waitFor();
  await hasText(page, "alert", "was erased");
  assert.equal((await page.context().cookies()).some(({ name }) => /cosygate(-refresh)?$/.test(name)), false);
  await logIn(page, ada);
  await hasText(page, "alert", "do not match");
});

test("the last administrator stays", async () => {
  const admin = await openPage({}, "#/account/data");
  await logInTo(admin, known);
  await hook(admin, "erase").click();
  await hook(admin, "erase-password").fill(known.password);
  await hook(admin, "erase-name").fill(known.username);
  await hook(admin, "confirm-erase").click();
  await hasText(admin, "erase-mistake", "last administrator");
  assert.equal((await asProgram("POST", "/login", { body: known })).status, 200);
  await admin.context().close();
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
