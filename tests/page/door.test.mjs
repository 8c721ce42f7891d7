// The door: registering, logging in, links, and what a login is.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";

import {
  asPage, assertNothingLeft, base, focused, hook, known, logIn, logInTo, open, openPage, requests, someone, visit,
} from "./harness.mjs";

const fresh = someone();
let desk;
let page;

before(async () => {
  page = await openPage();
  desk = page.context();
});

test("without a login the page shows the door", async () => {
  await hook(page, "login-form").waitFor();
  assert.equal(await hook(page, "username").getAttribute("autocomplete"), "username");
  assert.equal(await hook(page, "password").getAttribute("autocomplete"), "current-password");
  assert.equal(await hook(page, "text").isVisible(), false);
  assert.equal(await hook(page, "logout").isVisible(), false);
});

test("a wrong password is said plainly", async () => {
  await logIn(page, { username: known.username, password: `${known.password} not` });
  await page.waitForFunction(() => document.querySelector('[data-test="alert"]').textContent.length > 0);
  assert.equal(await hook(page, "alert").getAttribute("role"), "alert");
  assert.match(await hook(page, "alert").innerText(), /password/i);
  assert.equal(await hook(page, "login-form").isVisible(), true);
});

test("registering through the page leads inside", async () => {
  await hook(page, "register-tab").click();
  assert.equal(await hook(page, "password").getAttribute("autocomplete"), "new-password");
  await hook(page, "username").fill(fresh.username);
  await hook(page, "password").fill("short");
  await hook(page, "register-submit").click();
  assert.equal(await hook(page, "password").getAttribute("aria-invalid"), "true");
  await hook(page, "password").fill(fresh.password);
  await hook(page, "register-submit").click();
  await hook(page, "text").waitFor();
  await page.waitForFunction(() => document.querySelector('[data-test="voice"]').options.length > 0);
  assert.equal(await hook(page, "history-item").count(), 0);
});

test("the token is out of reach for scripts", async () => {
  const cookie = (await desk.cookies()).find(({ name }) => name === "cosygate");
  assert.ok(cookie, "the login cookie is set");
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  const reachable = await page.evaluate(() =>
    [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), document.cookie, location.href,
      document.documentElement.outerHTML].join("\n"),
  );
  for (const place of [reachable, ...requests()]) {
    assert.equal(place.includes(cookie.value), false);
    assert.doesNotMatch(place, /eyJ[\w-]+\.[\w-]+\.[\w-]+/);
  }
});

test("the language can be switched and is remembered", async () => {
  await hook(page, "text").fill("Typed before.");
  assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  await hook(page, "lang").click();
  assert.match(await page.evaluate(() => document.documentElement.lang), /^zh/);
  assert.match(await hook(page, "generate").innerText(), /\p{Script=Han}/u);
  assert.equal(await hook(page, "text").inputValue(), "Typed before.");
  await page.reload();
  await hook(page, "text").waitFor();
  assert.match(await hook(page, "logout").innerText(), /\p{Script=Han}/u);
  await hook(page, "lang").click();
  assert.match(await hook(page, "logout").innerText(), /^[A-Za-z ]+$/);
});

test("a login elsewhere is seen, and ended from here", async () => {
  const other = await openPage();
  await logInTo(other, fresh);
  await visit(page, "account");
  await hook(page, "logins").click();
  const theirs = hook(page, "login-item").filter({ has: page.locator('[data-test="end-login"]:visible') });
  await theirs.first().waitFor();
  const count = await theirs.count();
  assert.match(await theirs.first().innerText(), /Chrome on Linux/);
  await hook(theirs.first(), "end-login").click();
  await page.waitForFunction((before) => document.querySelectorAll('[data-test="end-login"]:not([hidden])').length < before, count);
  await hook(page, "close-logins").click();
  assert.equal(await focused(page), "logins");
  await other.context().close();
});

test("a token that is over is renewed without a word", async () => {
  const cookies = (await desk.cookies()).filter(({ name }) => name !== "cosygate");
  await desk.clearCookies();
  await desk.addCookies(cookies);
  await page.reload();
  await hook(page, "logout").waitFor();
  assert.ok((await desk.cookies()).some(({ name }) => name === "cosygate"));
});

test("logging out closes the door", async () => {
  await hook(page, "logout").click();
  await hook(page, "login-form").waitFor();
  assert.equal((await desk.cookies()).some(({ name }) => name === "cosygate"), false);
  assert.equal(await hook(page, "username").inputValue(), "");
  await page.reload();
  await hook(page, "login-form").waitFor();
});

test("links invite and let one back in", async () => {
  await logInTo(page, known);
  const ask = (method, path, body) => asPage(page, method, path, body);
  const guest = await (await open()).newPage();
  const name = `张伟-${randomBytes(3).toString("hex")}`;
  const invitation = await ask("POST", "/api/admin/invitations", { role: "premium" });
  await guest.goto(new URL(invitation.path, base).href);
  await hook(guest, "register-submit").waitFor();
  assert.equal(new URL(guest.url()).hash, "", "the secret has left the address");
  await hook(guest, "username").fill(name);
  await hook(guest, "password").fill("password1");
  await hook(guest, "register-submit").click();
  await guest.locator('[data-test="password"][aria-invalid="true"]').waitFor();
  assert.match(await guest.locator("#password-hint").innerText(), /guess/);
  await hook(guest, "password").fill(fresh.password);
  await hook(guest, "register-submit").click();
  await hook(guest, "text").waitFor();
  assert.equal(await guest.locator("#account-role").innerText(), "premium");

  const { users } = await ask("GET", `/api/admin/users?search=${encodeURIComponent(name)}`);
  const reset = await ask("POST", `/api/admin/users/${users[0].user_id}/reset`);
  await guest.goto(new URL(reset.path, base).href);
  await hook(guest, "reset-submit").waitFor();
  assert.equal(new URL(guest.url()).hash, "");
  assert.equal(await hook(guest, "username").isVisible(), false);
  await hook(guest, "password").fill(`${fresh.password} again`);
  await hook(guest, "reset-submit").click();
  await hook(guest, "text").waitFor();
  assert.equal(await guest.locator("#account-name").innerText(), name);
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
