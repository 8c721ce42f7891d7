// Administration: users, invitations, audit, policy, edges, revocations.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";

import {
  answer, asPage, asProgram, assertHarmless, assertNothingLeft, base, focused, hasText, hook, hostile, itemOf, known, logIn, logInTo,
  namelessControls, openPage, register, scrollsSideways, shiftOf, smallTargets, someone, tokenOf, until, visit,
} from "./harness.mjs";

const ada = someone();
const pages = ["users", "invitations", "audit", "policy", "edges", "revocations"];
let page;
let userId;

before(async () => {
  const guest = await openPage();
  await register(guest, ada);
  userId = (await asPage(guest, "GET", "/api/me")).user_id;
  await guest.context().close();
  page = await openPage();
  await logInTo(page, known);
});

/** Opens the dialog of a user. */
async function manage(username) {
  await hook(page, "user-search").fill(username);
  await page.getByRole("button", { name: `Manage ${username}`, exact: true }).click();
  await hook(page, "user-dialog").waitFor();
  assert.equal(await hook(page, "managed-user").innerText(), username);
}

test("a user is found, and gets another role", async () => {
  await visit(page, "admin");
  await hook(page, "user-search").fill("nobody has this name");
  await page.locator("#admin-view .empty:visible").waitFor();
  await manage(ada.username);
  const roles = await hook(page, "user-role").locator("option").allInnerTexts();
  assert.deepEqual(roles.toSorted(), ["admin", "free", "premium"]);
  await hook(page, "user-role").selectOption("premium");
  await hook(page, "save-user").click();
  await itemOf(page, "user-item", "premium").waitFor();
  assert.equal(await hook(page, "user-dialog").isVisible(), false);
  assert.ok(new URL(page.url()).hash.includes(ada.username), "the address names what is looked for");
});

test("a user is kept out and let in again", async () => {
  await manage(ada.username);
  await hook(page, "user-disabled").check();
  await hook(page, "save-user").click();
  await itemOf(page, "user-item", "Kept out").waitFor();
  assert.equal((await asProgram("POST", "/login", { body: ada })).status, 401);
  await manage(ada.username);
  await hook(page, "user-disabled").uncheck();
  await hook(page, "save-user").click();
  await until(async () => (await itemOf(page, "user-item", "Kept out").count()) === 0);
  assert.equal((await asProgram("POST", "/login", { body: ada })).status, 200);
});

test("a reset link is shown once and works", async () => {
  await manage(ada.username);
  await hook(page, "make-reset").click();
  await hook(page, "reset-link").waitFor();
  const link = await hook(page, "reset-link").inputValue();
  assert.ok(link.startsWith(`${base.origin}/#reset=`));
  await page.keyboard.press("Escape");
  // It is forgotten with the dialog.
  await until(async () => (await hook(page, "reset-link").inputValue()) === "");
  const guest = await openPage();
  await guest.goto(link);
  ada.password += " reset";
  await hook(guest, "password").fill(ada.password);
  await hook(guest, "reset-submit").click();
  await hook(guest, "logout").waitFor();
  await guest.context().close();
});

test("the last administrator is neither kept out nor demoted", async () => {
  await manage(known.username);
  await hook(page, "user-disabled").check();
  await hook(page, "save-user").click();
  await hasText(page, "user-mistake", "last administrator");
  await hook(page, "close-user").click();
  assert.equal((await asProgram("POST", "/login", { body: known })).status, 200);
});

test("an invitation is made, used, and taken back", async () => {
  await hook(page, "to-invitations").click();
  await hook(page, "invitation-role").locator("option").nth(1).waitFor({ state: "attached" });
  await hook(page, "invitation-role").selectOption("premium");
  await hook(page, "invitation-uses").fill("0");
  await hook(page, "make-invitation").click();
  assert.equal(await hook(page, "invitation-link").isVisible(), false, "no account at all is none");
  await hook(page, "invitation-uses").fill("3");
  await hook(page, "make-invitation").click();
  await hook(page, "invitation-link").waitFor();
  const link = await hook(page, "invitation-link").inputValue();
  assert.ok(link.startsWith(`${base.origin}/#invitation=`));
  assert.match(await hook(page, "invitation-item").first().innerText(), /premium[\s\S]*Accounts left: 3/);
  const count = await hook(page, "invitation-item").count();
  await hook(page, "withdraw-invitation").first().click();
  await hook(page, "confirm-ask").click();
  await until(async () => (await hook(page, "invitation-item").count()) === count - 1);
  assert.equal(await hook(page, "invitation-link").isVisible(), false);
});

test("the audit is searched, also for one user", async () => {
  await hook(page, "to-users").click();
  await manage(ada.username);
  await hook(page, "user-trail").click();
  await hook(page, "audit-search").waitFor();
  assert.equal(await hook(page, "audit-user").inputValue(), userId);
  await itemOf(page, "audit-item", "Creation of the account").waitFor();
  await hook(page, "audit-action").fill("login");
  await hook(page, "audit-search").click();
  await until(async () => (await itemOf(page, "audit-item", "Creation of the account").count()) === 0);
  const said = await hook(page, "audit-item").allInnerTexts();
  assert.ok(said.length > 0 && said.every((text) => text.includes("Login") && text.includes(userId)), said.join("\n"));
  await hook(page, "audit-since").fill("2999-01-01T00:00");
  await hook(page, "audit-search").click();
  await page.locator("#admin-view .empty:visible").waitFor();
  assert.match(new URL(page.url()).hash, /since=2999-01-01T|since=2998-12-31T/);
});

test("the audit is taken along as JSON lines", async () => {
  await hook(page, "audit-since").fill("");
  await hook(page, "audit-action").fill("login");
  const [download] = await Promise.all([page.waitForEvent("download"), hook(page, "audit-export").click()]);
  assert.match(download.suggestedFilename(), /^audit-[\d-]+\.jsonl$/);
  const lines = (await readFile(await download.path(), "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.ok(lines.length > 0 && lines.every((row) => row.action === "login" && row.user_id === userId && row.hash.length === 64));
});

test("the policy is changed, and two authors do not overwrite each other", async () => {
  await hook(page, "to-policy").click();
  await hasText(page, "policy-state", "is in force");
  const revOf = async () => Number(/\d+/.exec(await hook(page, "policy-state").innerText())[0]);
  const before = await revOf();
  const editor = hook(page, "policy-document");
  const original = await editor.inputValue();
  const changed = JSON.parse(original);
  changed.roles.free.requests.burst += 1;
  await editor.fill(JSON.stringify(changed, null, 2));
  await hook(page, "policy-reason").fill(`room ${hostile}`);
  await hook(page, "publish-policy").click();
  await itemOf(page, "policy-item", `Revision ${before + 1}`).waitFor();
  assert.equal(await revOf(), before + 1);
  assert.match(await hook(page, "policy-item").first().innerText(), /In force/);
  await assertHarmless(page);

  // Somebody else is faster.
  const token = await tokenOf(known);
  const headers = { "if-match": `"${before + 1}"` };
  const faster = await asProgram("PUT", "/api/admin/policy", { token, headers, body: JSON.parse(original) });
  assert.equal(faster.status, 200);
  changed.roles.free.requests.burst += 1;
  const mine = JSON.stringify(changed, null, 2);
  await editor.fill(mine);
  await hook(page, "publish-policy").click();
  await hasText(page, "policy-mistake", "another revision");
  assert.equal(await editor.inputValue(), mine, "what was typed stays");
  await hook(page, "policy-again").click();
  await hook(page, "cancel-ask").click();
  assert.equal(await editor.inputValue(), mine);
  await hook(page, "policy-again").click();
  await hook(page, "confirm-ask").click();
  await until(async () => (await revOf()) === faster.body.rev);
  assert.equal(await hook(page, "policy-mistake").innerText(), "");
});

test("what is wrong with a policy is said and shown at its place", async () => {
  const editor = hook(page, "policy-document");
  const original = await editor.inputValue();
  const selected = () => editor.evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
  const wrong = JSON.parse(original);
  wrong.roles.premium.requests.burst = 0;
  await editor.fill(JSON.stringify(wrong, null, 2));
  await hook(page, "publish-policy").click();
  await hasText(page, "policy-mistake", "/roles/premium");
  assert.equal(await editor.getAttribute("aria-invalid"), "true");
  assert.equal(await focused(page), "policy-document");
  assert.match(await selected(), /"burst": 0|"premium"|"requests"/);

  await editor.fill(original.replace('"roles": {', `"roles": {\n    "${hostile.replaceAll('"', '\\"')}": nonsense,`));
  await hook(page, "publish-policy").click();
  await hasText(page, "policy-mistake", "line ");
  assert.match(await selected(), /nonsense/);

  await editor.fill(original.replace('"roles": {', `"${hostile.replaceAll('"', '\\"')}": 1,\n  "roles": {`));
  await hook(page, "publish-policy").click();
  await hasText(page, "policy-mistake", "onerror");
  await assertHarmless(page);
});

test("what was typed into the policy waits for its author, and for nobody else", async () => {
  const editor = hook(page, "policy-document");
  await editor.fill("{ half a thought");
  await hook(page, "to-edges").click();
  await hook(page, "edge-item").first().waitFor();
  await hook(page, "to-policy").click();
  await hook(page, "policy-kept").waitFor();
  assert.equal(await editor.inputValue(), "{ half a thought");
  await hook(page, "to-edges").click();
  await hook(page, "edge-item").first().waitFor();
  await hook(page, "logout").click();
  await hook(page, "login-form").waitFor();
  await logInTo(page, known);
  await visit(page, "admin", "policy");
  await hasText(page, "policy-state", "is in force");
  assert.match(await editor.inputValue(), /"issuers"/);
  assert.equal(await hook(page, "policy-kept").isVisible(), false);
  await hook(page, "to-edges").click();
});

test("edges say what they judge by", async () => {
  await hook(page, "edge-item").first().waitFor();
  assert.match(await hook(page, "edges-state").innerText(), /Revision \d+/);
  assert.match(await hook(page, "edge-item").first().innerText(), /local[\s\S]*Revision \d+[\s\S]*Seen/);
  await hook(page, "refresh-edges").click();
  await hook(page, "edge-item").first().waitFor();
});

test("the tokens of a user are withdrawn", async () => {
  const token = await tokenOf(ada);
  assert.equal((await asProgram("GET", "/api/me", { token })).status, 200);
  await hook(page, "to-revocations").click();
  await hook(page, "revocation-kind").selectOption("user");
  await hook(page, "revocation-subject").fill(userId);
  await hook(page, "revocation-reason").fill(`stolen ${hostile}`);
  await hook(page, "make-revocation").click();
  await hook(page, "cancel-ask").click();
  assert.equal((await asProgram("GET", "/api/me", { token })).status, 200);
  await hook(page, "make-revocation").click();
  assert.match(await page.locator("#ask-text").innerText(), new RegExp(userId));
  await hook(page, "confirm-ask").click();
  await itemOf(page, "revocation-item", userId).filter({ hasText: "stolen" }).waitFor();
  await assertHarmless(page);
  await until(async () => (await asProgram("GET", "/api/me", { token })).status === 401);
});

test("texts of the server are never markup", async () => {
  const guest = await openPage({ storageState: await page.context().storageState() });
  await hook(guest, "to-admin").waitFor();
  const time = "2026-11-23T12:00:00Z";
  const policy = { rev: 7, newest_rev: 7, sha256: hostile, published_at: time, author: hostile, reason: hostile };
  await answer(guest, "/api/admin/users", { next: null, users: [
    { user_id: "01J", username: hostile, role: hostile, created_at: time, disabled_at: time },
  ] });
  await answer(guest, "/api/admin/invitations", { invitations: [
    { id: "1", role: hostile, uses_left: 1, created_at: time, expires_at: time, author: hostile },
  ] });
  await answer(guest, "/api/admin/audit", { next: null, entries: [
    { seq: 1, time, action: hostile, result: hostile, user_id: hostile, object: hostile, via: hostile, address: hostile, request_id: hostile },
  ] });
  await answer(guest, "/api/admin/policy", { ...policy, last_error: hostile, document: { roles: { [hostile]: {} } } });
  await answer(guest, "/api/admin/policy/history", { revisions: [policy] });
  await answer(guest, "/api/admin/edges", { serial: 1, rev: hostile, edges: [
    { region: hostile, node: hostile, serial: 1, rev: hostile, behind: 1, error: hostile, seen_at: time },
  ] });
  await answer(guest, "/api/admin/revocations", { revocations: [
    { kind: hostile, subject: hostile, at: time, expires_at: time, author: hostile, reason: hostile },
  ] });
  await hook(guest, "to-admin").click();
  const items = { users: "user", invitations: "invitation", audit: "audit", policy: "policy", edges: "edge", revocations: "revocation" };
  for (const name of pages) {
    await hook(guest, `to-${name}`).click();
    await hook(guest, `${items[name]}-item`).waitFor();
    await assertHarmless(guest);
  }
  await hook(guest, "to-users").click();
  await hook(guest, "manage-user").click();
  await hook(guest, "user-dialog").waitFor();
  await assertHarmless(guest);
  await guest.context().close();
});

for (const scheme of ["light", "dark"]) {
  test(`a phone shows every page of administration, ${scheme}`, async () => {
    const phone = await openPage({
      viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, colorScheme: scheme,
      storageState: await page.context().storageState(),
    }, "#/admin/users");
    for (const name of pages) {
      await hook(phone, `to-${name}`).click();
      await phone.locator("#admin-view .panel:not([aria-busy]) :is(.rows li, .empty):visible").first().waitFor();
      assert.equal(await scrollsSideways(phone), false, name);
      assert.deepEqual(await smallTargets(phone), [], name);
      assert.deepEqual(await namelessControls(phone), [], name);
    }
    await phone.context().close();
  });
}

test("nothing jumps while a page is loading", async () => {
  for (const name of pages) {
    for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
      const one = await openPage({ viewport, storageState: await page.context().storageState() }, "#/admin/" + name);
      await one.locator("#admin-view .panel:not([aria-busy]) :is(.rows li, .empty):visible").first().waitFor();
      const shift = await shiftOf(one);
      assert.ok(shift < 0.05, `${name} at ${viewport.width} px: ${shift}`);
      await one.context().close();
    }
  }
});

test("the other language has a sentence for everything", async () => {
  await hook(page, "lang").click();
  for (const name of pages) {
    await hook(page, `to-${name}`).click();
    await page.locator("#admin-view .panel:not([aria-busy])").first().waitFor();
    assert.match(await page.locator("#admin-view .panel h2").first().innerText(), /\p{Script=Han}/u);
    const labels = await page.locator("#admin-view").locator("label, button, option, .hint").allInnerTexts();
    assert.doesNotMatch(labels.join("\n"), /\b[a-z]+_[a-z]+\b/, "no key without its sentence");
  }
  await hook(page, "lang").click();
});

test("whoever logs out leaves nothing of administration behind", async () => {
  await hook(page, "to-users").click();
  await hook(page, "user-item").first().waitFor();
  await hook(page, "logout").click();
  await hook(page, "login-form").waitFor();
  assert.equal(new URL(page.url()).hash, "");
  assert.equal(await hook(page, "user-item").count(), 0);
  await logIn(page, ada);
  await hook(page, "logout").waitFor();
  assert.equal(await hook(page, "to-admin").isVisible(), false);
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
