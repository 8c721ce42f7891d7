// Passkeys, on a device that Chromium plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertNothingLeft, base, hook, logIn, open, register, someone, visit } from "./harness.mjs";

test("a passkey is set up, logs in, steps up and is removed", async () => {
  const context = await open({ viewport: { width: 1280, height: 800 } });
  const guest = await context.newPage();
  const device = await context.newCDPSession(guest);
  await device.send("WebAuthn.enable");
  const { authenticatorId } = await device.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  const keys = async () => (await device.send("WebAuthn.getCredentials", { authenticatorId })).credentials;
  const recognises = (isUserVerified) => device.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified });
  const somebody = someone();
  await guest.goto(base.href);
  await register(guest, somebody);

  await visit(guest, "account");
  await hook(guest, "factor").click();
  await hook(guest, "passkeys").click();
  await hook(guest, "passkey-submit").click();
  await hook(guest, "passkey-name").fill("My <b>key</b>");
  await hook(guest, "passkey-password").fill(`${somebody.password} not`);
  await hook(guest, "passkey-submit").click();
  await guest.waitForFunction(() => document.getElementById("passkeys-mistake").textContent.length > 0);
  assert.match(await guest.locator("#passkeys-mistake").innerText(), /password/i);
  assert.equal((await keys()).length, 0);
  await hook(guest, "passkey-password").fill(somebody.password);
  await hook(guest, "passkey-submit").click();
  await hook(guest, "passkey-codes").locator("li").first().waitFor();
  const codes = await hook(guest, "passkey-codes").locator("li").allInnerTexts();
  assert.equal(codes.length, 10);
  const [key] = await keys();
  assert.equal(key.rpId, base.hostname);
  await hook(guest, "passkey-submit").click();
  await hook(guest, "close-factor").click();

  const leave = async () => {
    await hook(guest, "logout").click();
    await hook(guest, "login-form").waitFor();
  };
  await leave();
  await logIn(guest, somebody);
  await hook(guest, "logout").waitFor();
  const counted = (await keys())[0].signCount;
  assert.ok(counted > key.signCount, `${counted} after ${key.signCount}`);

  // Whom the device does not recognise it signs nothing for; a recovery code helps.
  await leave();
  await recognises(false);
  await logIn(guest, somebody);
  await hook(guest, "login-code").waitFor();
  await guest.waitForFunction(() => document.querySelector('[data-test="alert"]').textContent.length > 0);
  await hook(guest, "login-code").fill(codes[0]);
  await hook(guest, "login-submit").click();
  await hook(guest, "logout").waitFor();
  await recognises(true);

  // As if the login were too old for this: everything after the first answer is real.
  await guest.route("**/api/logins", (route) => route.fulfill({
    status: 401, contentType: "application/problem+json", body: JSON.stringify({ status: 401, code: "step_up_required" }),
  }), { times: 1 });
  await visit(guest, "account");
  await hook(guest, "logins").click();
  await hook(guest, "step-up-submit").click();
  await hook(guest, "login-item").first().waitFor();
  assert.ok((await keys())[0].signCount > counted);
  await hook(guest, "close-logins").click();

  await visit(guest, "account");
  await hook(guest, "factor").click();
  await hook(guest, "passkeys").click();
  assert.match(await hook(guest, "passkey-item").innerText(), /My <b>key<\/b>/);
  await hook(guest, "remove-passkey").click();
  await hook(guest, "passkey-password").fill(somebody.password);
  await hook(guest, "passkey-submit").click();
  await hook(guest, "passkey-item").waitFor({ state: "detached" });
  await hook(guest, "close-passkeys").click();
  await hook(guest, "close-factor").click();
  await leave();
  await recognises(false);
  await logIn(guest, somebody);
  await hook(guest, "logout").waitFor();
  await context.close();
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
