// The account: getting around in it, the password, tokens for programs, and what was done.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import {
  answer, asPage, asProgram, assertHarmless, assertNothingLeft, base, focused, hasText, hook, hostile, itemOf, known, logInTo,
  namelessControls, openPage, register, requests, scrollsSideways, shiftOf, smallTargets, someone, tokenOf, until, visit,
} from "./harness.mjs";

const ada = someone();
let page;

before(async () => {
  page = await openPage();
  await register(page, ada);
  // What is asked for here in a minute is more than others may.
  const { user_id: id } = await asPage(page, "GET", "/api/me");
  const premium = await asProgram("PATCH", `/api/admin/users/${id}`, { token: await tokenOf(known), body: { role: "premium" } });
  assert.equal(premium.status, 200);
  await hook(page, "logout").click();
  await logInTo(page, ada);
});

test("the address names the page, and back leads back", async () => {
  await visit(page, "account");
  await hook(page, "password-form").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await hook(page, "to-tokens").click();
  await hook(page, "token-form").waitFor();
  assert.equal(new URL(page.url()).hash, "#/account/tokens");
  assert.equal(await hook(page, "to-tokens").getAttribute("aria-current"), "page");
  assert.match(await page.title(), /^Tokens – /);
  await page.goBack();
  await hook(page, "password-form").waitFor();
  await page.goBack();
  await hook(page, "text").waitFor();
  assert.equal(await page.title(), "cosygate");
  await page.goForward();
  await hook(page, "password-form").waitFor();
  await page.reload();
  await hook(page, "password-form").waitFor();
});

test("an address that leads nowhere shows the first page instead", async () => {
  await page.goto(new URL("#/account/nonsense", base).href);
  await hook(page, "password-form").waitFor();
  assert.equal(new URL(page.url()).hash, "#/account/security");
  await page.goto(new URL("#/nowhere", base).href);
  await hook(page, "text").waitFor();
  assert.equal(new URL(page.url()).hash, "#/");
});

test("administration is not shown to others, nor loaded for them", async () => {
  assert.equal(await hook(page, "to-admin").isVisible(), false);
  await page.goto(new URL("#/admin/users", base).href);
  await hook(page, "text").waitFor();
  assert.equal(new URL(page.url()).hash, "#/");
  assert.equal(requests().some((url) => url.includes("/assets/admin")), false);
});

test("the link past the bar leads to the content, not to another page", async () => {
  await page.goto(new URL("#/account/tokens", base).href);
  await hook(page, "token-form").waitFor();
  await page.locator("#skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  assert.equal(new URL(page.url()).hash, "#/account/tokens");
});

test("a token is made, shown once, works for a client and is revoked", async () => {
  const name = `laptop ${hostile}`.slice(0, 64);
  await hook(page, "token-name").fill(name);
  await hook(page, "token-days").selectOption("7");
  await hook(page, "make-token").click();
  await hook(page, "token-made").waitFor();
  assert.equal(await focused(page), "token-secret");
  const token = await hook(page, "token-secret").inputValue();
  assert.match(token, /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  assert.equal(await hook(page, "token-snippet").inputValue(), `OPENAI_BASE_URL=${base.origin}/v1\nOPENAI_API_KEY=${token}`);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: base.origin });
  await hook(page, "copy-token-secret").click();
  assert.equal(await until(() => page.evaluate(() => navigator.clipboard.readText())), token);

  const item = hook(page, "token-item");
  assert.match(await item.innerText(), /Make speech and voices/);
  assert.match(await item.innerText(), /Never used/);
  assert.ok((await item.innerText()).includes(name));
  assert.equal(await page.locator("[data-evil]").count(), 0);
  assert.equal((await asProgram("GET", "/v1/models", { token })).status, 200);

  await hook(page, "revoke-token").click();
  await hook(page, "cancel-ask").click();
  assert.equal(await hook(page, "revoke-token").count(), 1, "it can be called off");
  assert.equal(await focused(page), "revoke-token");
  await hook(page, "revoke-token").click();
  await hook(page, "confirm-ask").click();
  await item.filter({ hasText: "Revoked" }).waitFor();
  assert.equal(await hook(page, "token-made").isVisible(), false);
  await until(async () => (await asProgram("GET", "/v1/models", { token })).status === 401);
});

test("a token that may only read makes no speech, and is forgotten on leaving", async () => {
  await hook(page, "token-name").fill("reader");
  await hook(page, "token-scope-speech").uncheck();
  await hook(page, "make-token").click();
  await hook(page, "token-made").waitFor();
  const token = await hook(page, "token-secret").inputValue();
  assert.match(await itemOf(page, "token-item", "reader").innerText(), /Read only/);
  const refused = await asProgram("POST", "/api/generate", { token, body: { text: "Hello." } });
  assert.deepEqual([refused.status, refused.body.code], [403, "scope_missing"]);
  await hook(page, "to-security").click();
  await hook(page, "to-tokens").click();
  await itemOf(page, "token-item", "reader").waitFor();
  assert.equal(await hook(page, "token-made").isVisible(), false);
  assert.equal(await hook(page, "token-secret").inputValue(), "");
  assert.equal(await hook(page, "token-snippet").inputValue(), "");
});

test("too many tokens are said plainly", async () => {
  await page.route("**/api/tokens", async (route) => {
    if (route.request().method() !== "POST") return route.fallback();
    return route.fulfill({ status: 409, contentType: "application/problem+json", body: JSON.stringify({ status: 409, code: "conflict", detail: "20" }) });
  });
  await hook(page, "token-name").fill("one more");
  await hook(page, "make-token").click();
  await hasText(page, "alert", "as many tokens as one may have");
  assert.equal(await hook(page, "token-name").inputValue(), "one more", "what was typed stays");
  assert.equal(await hook(page, "token-made").isVisible(), false);
  await page.unroute("**/api/tokens");
  await page.locator("#alert-dismiss").click();
});

// The real thing: the policy asks for a login of this very second.
test("what asks for a recent login is done after the proof, and not without it", async () => {
  const token = await tokenOf(known);
  const asAdmin = (method, path, body, headers) => asProgram(method, path, { token, body, headers });
  const { body: before } = await asAdmin("GET", "/api/admin/policy");
  const strict = structuredClone(before.document);
  strict.routes.find((route) => route.path === "/api/tokens" && route.methods.includes("POST")).fresh_login_s = 1;
  const published = await asAdmin("PUT", "/api/admin/policy", strict, { "if-match": `"${before.rev}"` });
  assert.equal(published.status, 200, JSON.stringify(published.body));
  try {
    const mine = await tokenOf(ada);
    const tooOld = () => asProgram("POST", "/api/tokens", { token: mine, body: { name: "by a program" } });
    await until(async () => (await tooOld()).status === 401);
    await hook(page, "token-name").fill("after a proof");
    await hook(page, "make-token").click();
    await hook(page, "step-up-secret").fill(`${ada.password} not`);
    await hook(page, "step-up-submit").click();
    await page.locator("#step-up-mistake").filter({ hasText: "wrong" }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await itemOf(page, "token-item", "after a proof").count(), 0);
    assert.equal(await hook(page, "token-name").inputValue(), "after a proof");

    await hook(page, "make-token").click();
    await hook(page, "step-up-secret").fill(ada.password);
    await hook(page, "step-up-submit").click();
    await itemOf(page, "token-item", "after a proof").waitFor();
  } finally {
    await asAdmin("PUT", "/api/admin/policy", before.document, { "if-match": `"${published.body.rev}"` });
  }
});

test("what was done stands there in words, page by page", async () => {
  await hook(page, "to-activity").click();
  await itemOf(page, "activity-item", "New personal access token").first().waitFor();
  await itemOf(page, "activity-item", "Creation of the account").waitFor();
  const wrong = itemOf(page, "activity-item", "Another proof of identity").filter({ hasText: "Refused: wrong password" });
  assert.equal(await wrong.count(), 1);
  assert.match(await hook(page, "activity-item").first().innerText(), /(\d+\.){3}\d+|::/);
  assert.match(await hook(page, "activity-item").first().innerText(), /region local/);
  const said = await hook(page, "activity").innerText();
  assert.doesNotMatch(said, /\b[a-z]+_[a-z]+\b/, "no name of the program's own");

  const token = await tokenOf(ada);
  for (let proofs = 0; proofs < 30; proofs += 1) {
    const proof = await asProgram("POST", "/api/me/step-up", { token, body: { password: ada.password } });
    assert.equal(proof.status, 200);
  }
  await page.reload();
  await until(async () => (await hook(page, "activity-item").count()) === 30);
  await hook(page, "activity-more").click();
  await itemOf(page, "activity-item", "Creation of the account").waitFor();
  assert.ok((await hook(page, "activity-item").count()) > 30);
  assert.equal(await hook(page, "activity-more").isVisible(), false);
});

test("a page that cannot be had now is asked for again", async () => {
  await page.route("**/api/me/audit*", (route) => route.abort());
  await hook(page, "to-tokens").click();
  await hook(page, "to-activity").click();
  await hook(page, "retry-activity_title").waitFor();
  await hasText(page, "alert", "cannot be reached");
  await page.unroute("**/api/me/audit*");
  await hook(page, "retry-activity_title").click();
  await hook(page, "activity-item").first().waitFor();
  assert.equal(await hook(page, "retry-activity_title").isVisible(), false);
  await page.locator("#alert-dismiss").click();
});

test("texts of the server are never markup", async () => {
  const guest = await openPage({ storageState: await page.context().storageState() }, "#/account/tokens");
  const time = "2026-11-23T12:00:00Z";
  await answer(guest, "/api/tokens", { tokens: [
    { id: hostile, name: hostile, role: hostile, scopes: [hostile], created_at: time, expires_at: time, used_at: time, ended_at: null, ended_why: null },
    { id: "2", name: hostile, role: "free", scopes: [], created_at: time, expires_at: time, used_at: null, ended_at: time, ended_why: hostile },
  ] });
  await answer(guest, "/api/me/audit", { next: null, entries: [
    { seq: 1, time, action: hostile, result: hostile, via: `cli:${hostile}`, address: hostile, object: hostile, characters: 3 },
  ] });
  await answer(guest, "/api/me", { user_id: hostile, username: hostile, role: hostile, created_at: time, second_factor: null });
  await answer(guest, "/api/logins", { logins: [
    { id: "1", current: false, label: hostile, address: hostile, seen_at: time, ended_at: null },
  ] });
  await guest.reload();
  await hook(guest, "token-item").first().waitFor();
  await assertHarmless(guest);
  await hook(guest, "revoke-token").click();
  await assertHarmless(guest);
  await hook(guest, "cancel-ask").click();
  await hook(guest, "to-activity").click();
  await hook(guest, "activity-item").waitFor();
  await assertHarmless(guest);
  await hook(guest, "to-security").click();
  await hook(guest, "logins").click();
  await hook(guest, "login-item").waitFor();
  await assertHarmless(guest);
  await hook(guest, "close-logins").click();
  await hook(guest, "to-data").click();
  await hook(guest, "erase").click();
  await hook(guest, "erase-dialog").waitFor();
  await assertHarmless(guest);
  await guest.context().close();
});

for (const scheme of ["light", "dark"]) {
  test(`a phone shows every page of the account, ${scheme}`, async () => {
    const phone = await openPage({
      viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, colorScheme: scheme,
      storageState: await page.context().storageState(),
    }, "#/account/security");
    for (const name of ["security", "tokens", "activity", "data"]) {
      await hook(phone, `to-${name}`).click();
      await phone.locator("#account-view .panel:not([aria-busy])").first().waitFor();
      assert.equal(await scrollsSideways(phone), false, name);
      assert.deepEqual(await smallTargets(phone), [], name);
      assert.deepEqual(await namelessControls(phone), [], name);
    }
    await phone.context().close();
  });
}

test("nothing jumps while a page is loading", async () => {
  for (const name of ["security", "tokens", "activity", "data"]) {
    for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
      const one = await openPage({ viewport, storageState: await page.context().storageState() }, "#/account/" + name);
      await one.locator("#account-view .panel:not([aria-busy])").first().waitFor();
      const shift = await shiftOf(one);
      assert.ok(shift < 0.05, `${name} at ${viewport.width} px: ${shift}`);
      await one.context().close();
    }
  }
});

test("the other language has a sentence for everything", async () => {
  await hook(page, "lang").click();
  for (const name of ["security", "tokens", "activity", "data"]) {
    await hook(page, `to-${name}`).click();
    const words = await page.locator("#account-view").innerText();
    assert.match(words, /\p{Script=Han}/u);
    assert.doesNotMatch(words, /\b[a-z]+_[a-z]+\b/, "no key without its sentence");
  }
  await hook(page, "lang").click();
});

test("a new password: what is wrong with it is said, and it counts from then on", async () => {
  await hook(page, "to-security").click();
  const change = async (current, next) => {
    await hook(page, "current-password").fill(current);
    await hook(page, "new-password").fill(next);
    await hook(page, "change-password").click();
  };
  const hintOf = async (name) => page.locator(`#${await hook(page, name).getAttribute("aria-describedby")}`);
  await hook(page, "new-password").fill("short");
  assert.match(await (await hintOf("new-password")).innerText(), /still missing: 3/);
  await hook(page, "new-password").fill("long enough and longer");
  assert.match(await (await hintOf("new-password")).innerText(), /good length/i);

  await change("", "short");
  assert.equal(await hook(page, "current-password").getAttribute("aria-invalid"), "true");
  assert.equal(await hook(page, "new-password").getAttribute("aria-invalid"), "true");
  assert.equal(await focused(page), "current-password");
  await change(ada.password, "password1");
  await (await hintOf("new-password")).filter({ hasText: "harder to guess" }).waitFor();
  await change(`${ada.password} not`, `${ada.password} new`);
  await (await hintOf("current-password")).filter({ hasText: "wrong" }).waitFor();

  const other = await openPage();
  await logInTo(other, ada);
  const old = { ...ada };
  ada.password += " new";
  await change(old.password, ada.password);
  await hasText(page, "password-done", "counts from now on");
  assert.equal(await hook(page, "new-password").inputValue(), "");
  assert.equal(await hook(page, "logout").isVisible(), true, "this browser goes on");
  assert.equal((await asProgram("POST", "/login", { body: old })).status, 401);
  // Everybody else is out within two seconds.
  await until(async () => {
    await other.reload();
    await other.locator("#login-form:visible, #studio:visible").waitFor();
    return hook(other, "login-form").isVisible();
  });
  await other.context().close();
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
