// The page in a real Chromium, from the first registration to the last log out.
//
//   BASE_URL=http://localhost:10000 COSYGATE_TEST_USER=… COSYGATE_TEST_PASSWORD=… npm test
//
// The account of the environment must exist; another one is registered through the page.
// CHROMIUM names the browser (default /usr/bin/chromium). The tests tell one story and
// run in order: a later one goes on where an earlier one stopped.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const base = new URL(needed("BASE_URL"));
const known = { username: needed("COSYGATE_TEST_USER"), password: needed("COSYGATE_TEST_PASSWORD") };
const fresh = { username: `page-${randomBytes(6).toString("hex")}`, password: `pw ${randomBytes(12).toString("hex")}` };
const sentence = `你好, world. 第 ${randomBytes(3).toString("hex")} 句。`;

// A speech engine takes its time, and a rate limit may ask the page to wait a little.
const patienceMs = 60_000;
const attempts = 3;

const seen = { requests: [], violations: [], complaints: [] };
let browser;
let desk;
let page;

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--disable-gpu", "--disable-quic"],
  });
  desk = await open({ viewport: { width: 1280, height: 800 } });
  page = await desk.newPage();
  await page.goto(base.href);
});

after(() => browser?.close());

/** A browser context that notes every request, policy violation and complaint of its pages. */
async function open(options) {
  const context = await browser.newContext({ locale: "en-US", ...options });
  context.setDefaultTimeout(patienceMs);
  await context.exposeBinding("noteViolation", (_source, directive) => seen.violations.push(directive));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.noteViolation(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  context.on("request", (request) => seen.requests.push(request.url()));
  context.on("weberror", (error) => seen.complaints.push(String(error.error())));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isExpected(message)) seen.complaints.push(message.text());
  });
  return context;
}

// Chromium reports every refused request. Asking who one is without a login, a wrong
// password, one that is common, and a limit that was reached are refused by design.
function isExpected(message) {
  const status = /responded with a status of (\d+)/.exec(message.text())?.[1];
  const path = message.location().url.replace(base.origin, "");
  return status === "429" || (status === "401" && ["/api/me", "/login"].includes(path)) ||
    (status === "400" && path === "/register");
}

const hook = (name, where = page) => where.locator(`[data-test="${name}"]`);
const itemOf = (text, where = page) => hook("history-item", where).filter({ hasText: text });
const focused = (where = page) => where.evaluate(() => document.activeElement.dataset.test ?? document.activeElement.id);
const usedCharacters = async () => Number(/^[\d,]+/.exec(await hook("usage-characters").innerText())[0].replaceAll(",", ""));

async function logIn({ username, password }, where = page) {
  await hook("username", where).fill(username);
  await hook("password", where).fill(password);
  await hook("login-submit", where).click();
}

/** Has `text` spoken; `press` sends the form. Waits out a rate limit as a person would. */
async function speak(text, press, where = page) {
  const audio = hook("result-audio", where);
  const before = await audio.getAttribute("src");
  await hook("text", where).fill(text);
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    await press();
    const outcome = await where.waitForFunction((old) => {
      const one = (name) => document.querySelector(`[data-test="${name}"]`);
      const made = one("result-audio").getAttribute("src");
      if (made && made !== old) return "made";
      return one("generate").dataset.state === "waiting" ? "waiting" : one("alert").textContent;
    }, before);
    const said = await outcome.jsonValue();
    if (said === "made") return audio;
    assert.equal(said, "waiting", `generating failed: ${said}`);
    await hook("generate", where).and(where.locator(":enabled")).waitFor();
  }
  return assert.fail(`held back ${attempts} times`);
}

/** Waits until `audio` has metadata and its time moves on. */
async function assertPlays(audio) {
  const playing = await audio.elementHandle();
  await page.waitForFunction((element) => element.readyState >= 1 && element.currentTime > 0, playing);
  const duration = await audio.evaluate((element) => element.duration);
  assert.ok(Number.isFinite(duration) && duration > 0, `duration ${duration}`);
}

async function downloadBy(link) {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return download;
}

const scrollsSideways = (where) =>
  where.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

test("without a login the page shows the door", async () => {
  await hook("login-form").waitFor();
  assert.equal(await hook("username").getAttribute("autocomplete"), "username");
  assert.equal(await hook("password").getAttribute("autocomplete"), "current-password");
  assert.equal(await hook("text").isVisible(), false);
  assert.equal(await hook("logout").isVisible(), false);
});

test("a wrong password is said plainly", async () => {
  await logIn({ username: known.username, password: `${known.password} not` });
  await page.waitForFunction(() => document.querySelector('[data-test="alert"]').textContent.length > 0);
  assert.equal(await hook("alert").getAttribute("role"), "alert");
  assert.match(await hook("alert").innerText(), /password/i);
  assert.equal(await hook("login-form").isVisible(), true);
});

test("registering through the page leads inside", async () => {
  await hook("register-tab").click();
  assert.equal(await hook("password").getAttribute("autocomplete"), "new-password");
  await hook("username").fill(fresh.username);
  await hook("password").fill("short");
  await hook("register-submit").click();
  assert.equal(await hook("password").getAttribute("aria-invalid"), "true");
  await hook("password").fill(fresh.password);
  await hook("register-submit").click();
  await hook("text").waitFor();
  await page.waitForFunction(() => document.querySelector('[data-test="voice"]').options.length > 0);
  assert.equal(await hook("history-item").count(), 0);
});

test("a sentence in Chinese and English is spoken at once", async () => {
  await page.waitForFunction(() => /\d/.test(document.querySelector('[data-test="usage-characters"]').textContent));
  const usedBefore = await usedCharacters();
  const audio = await speak(sentence, () => hook("generate").click());
  assert.match(await audio.getAttribute("src"), /^\/download\/[0-9A-Z]{26}$/);
  await assertPlays(audio);
  await itemOf(sentence).waitFor();
  await page.waitForFunction(
    (old) => !document.querySelector('[data-test="usage-characters"]').textContent.startsWith(old),
    `${usedBefore} `,
  );
  assert.equal(await usedCharacters(), usedBefore + [...sentence].length);
});

test("playing one recording stops the other", async () => {
  await hook("result-audio").evaluate((audio) => { audio.loop = true; return audio.play(); });
  await hook("play", itemOf(sentence)).click();
  await assertPlays(itemOf(sentence).locator("audio"));
  assert.equal(await hook("result-audio").evaluate((audio) => audio.paused), true);
});

test("a download is a WAV file", async () => {
  const link = hook("download", itemOf(sentence));
  let download = await downloadBy(link);
  // A download has no page code behind it that would wait out a rate limit.
  for (let attempt = 2; attempt <= attempts && (await download.failure()); attempt += 1) {
    await page.waitForTimeout(5_000);
    download = await downloadBy(link);
  }
  assert.match(download.url(), /\?download=1$/);
  const bytes = await readFile(await download.path());
  assert.equal(bytes.subarray(0, 4).toString("latin1"), "RIFF");
  assert.equal(bytes.subarray(8, 12).toString("latin1"), "WAVE");
});

test("a reload stays logged in and keeps the history", async () => {
  await page.reload();
  await itemOf(sentence).waitFor();
  assert.equal(await hook("login-form").isVisible(), false);
});

test("an earlier text can be used again", async () => {
  await hook("use-again", itemOf(sentence)).click();
  assert.equal(await hook("text").inputValue(), sentence);
  assert.equal(await focused(), "text");
});

test("a generation that waits shows its place and can be cancelled", async () => {
  // The server is played here: a queue of others cannot be had on demand.
  const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const path = `/api/jobs/${id}`;
  let cancelled = false;
  await page.route("**/api/generate", (route) =>
    route.fulfill({ status: 202, json: { job: { id, url: path, events_url: `${path}/events` } } }));
  await page.route(`**${path}`, (route) => {
    cancelled = route.request().method() === "DELETE";
    return route.fulfill({ status: 204 });
  });
  await page.route(`**${path}/events`, (route) => {
    const sentences = { done: 0, total: 0 };
    const waiting = { id, state: "queued", position: 3, sentences, error: null, ended_at: null };
    const ended = { ...waiting, state: "cancelled", position: null, ended_at: "2026-11-23T12:00:00Z" };
    const data = JSON.stringify(cancelled ? ended : waiting);
    return route.fulfill({ contentType: "text/event-stream", body: `retry: 50\nevent: job\nid: 1\ndata: ${data}\n\n` });
  });
  await hook("text").fill("It has to wait.");
  await hook("generate").click();
  await page.waitForFunction(() => /\b3\b/.test(document.getElementById("job-state").textContent));
  await hook("cancel").click();
  await hook("job").waitFor({ state: "hidden" });
  await hook("generate").and(page.locator(":enabled")).waitFor();
  assert.equal(cancelled, true);
  assert.equal(await hook("alert").isVisible(), false);
  await page.unrouteAll();
  await hook("text").fill(sentence);
});

test("a recording becomes a voice, is heard and deleted", async () => {
  await hook("voice-new").click();
  await hook("voice-sample").setInputFiles({ name: "me.wav", mimeType: "audio/wav", buffer: recording(3) });
  await hook("voice-name").fill("My <b>voice</b>");
  await hook("voice-transcript").fill("Good morning.");
  await hook("voice-submit").click();
  // Without a word on whose voice it is, nothing is sent.
  assert.equal(await hook("voice-item").count(), 0);
  await hook("voice-consent-own").check();
  await hook("voice-submit").click();
  await hook("voice-item").waitFor();
  assert.match(await hook("voice-item").innerText(), /My <b>voice<\/b>/);
  assert.match(await hook("voice-advice").innerText(), /3.0 seconds/);
  await hook("voice-item").locator("audio").evaluate((audio) => audio.play());
  await assertPlays(hook("voice-item").locator("audio"));
  await hook("voice-delete").click();
  assert.equal(await hook("voice-item").count(), 1, "the first press only asks");
  await hook("voice-delete").click();
  await hook("voice-item").waitFor({ state: "detached" });
});

/** A WAV file with so many seconds of a tone. */
function recording(seconds) {
  const rate = 24_000;
  const samples = Int16Array.from({ length: seconds * rate }, (_, at) => 9_000 * Math.sin((at / rate) * 440 * 2 * Math.PI));
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write("WAVEfmt ", 8);
  for (const [value, at] of [[16, 16], [rate, 24], [2 * rate, 28]]) head.writeUInt32LE(value, at);
  for (const [value, at] of [[1, 20], [1, 22], [2, 32], [16, 34]]) head.writeUInt16LE(value, at);
  head.write("data", 36);
  head.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([head, Buffer.from(samples.buffer)]);
}

test("the token is out of reach for scripts", async () => {
  const cookie = (await desk.cookies()).find(({ name }) => name === "cosygate");
  assert.ok(cookie, "the login cookie is set");
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  const reachable = await page.evaluate(() =>
    [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), document.cookie, location.href,
      document.documentElement.outerHTML].join("\n"),
  );
  for (const place of [reachable, ...seen.requests]) {
    assert.equal(place.includes(cookie.value), false);
    assert.doesNotMatch(place, /eyJ[\w-]+\.[\w-]+\.[\w-]+/);
  }
});

test("the language can be switched and is remembered", async () => {
  assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  await hook("lang").click();
  assert.match(await page.evaluate(() => document.documentElement.lang), /^zh/);
  assert.match(await hook("generate").innerText(), /\p{Script=Han}/u);
  assert.equal(await hook("text").inputValue(), sentence);
  await page.reload();
  await itemOf(sentence).waitFor();
  assert.match(await hook("logout").innerText(), /\p{Script=Han}/u);
  await hook("lang").click();
  assert.match(await hook("logout").innerText(), /^[A-Za-z ]+$/);
});

test("the count is in characters, and too many are not sent", async () => {
  await page.waitForFunction(() => /\d$/.test(document.getElementById("text-count").textContent));
  const limit = Number((await page.locator("#text-count").innerText()).split("/")[1].replaceAll(",", ""));
  await hook("text").fill(` ${"𠮷".repeat(limit + 1)}\n`);
  const asked = seen.requests.length;
  await hook("generate").click();
  assert.equal(await hook("text").getAttribute("aria-invalid"), "true");
  assert.match(await page.locator("#text-hint").innerText(), /by 1\b/);
  assert.equal(seen.requests.slice(asked).some((url) => url.endsWith("/api/generate")), false);
  await hook("text").fill("𠮷".repeat(limit));
  assert.equal(await hook("text").getAttribute("aria-invalid"), "false");
});

test("a phone shows everything without scrolling sideways", async () => {
  const pocket = await open({
    viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, storageState: await desk.storageState(),
  });
  const phone = await pocket.newPage();
  await phone.goto(base.href);
  await itemOf(sentence, phone).waitFor();
  assert.equal(await scrollsSideways(phone), false);
  const targets = await phone.locator("button:visible, a:visible, select:visible, input:visible").evaluateAll((elements) =>
    elements
      .filter((element) => !element.matches(".skip"))
      .map((element) => ({ name: element.id || element.dataset.test, box: element.getBoundingClientRect() }))
      .filter(({ box }) => box.height < 44 || box.width < 44)
      .map(({ name }) => name),
  );
  assert.deepEqual(targets, [], "targets below 44 pixels");
  await pocket.close();
});

test("deleting asks first, and can be called off", async () => {
  const item = itemOf(sentence);
  await hook("delete", item).focus();
  await page.keyboard.press("Enter");
  await hook("confirm-delete").waitFor();
  assert.equal(await focused(), "cancel-delete");
  await page.keyboard.press("Escape");
  assert.equal(await hook("confirm-delete").isVisible(), false);
  assert.equal(await focused(), "delete");
  assert.equal(await item.count(), 1);
});

test("deleting removes the recording for good", async () => {
  await hook("delete", itemOf(sentence)).click();
  await hook("confirm-delete").click();
  await itemOf(sentence).waitFor({ state: "detached" });
  await page.reload();
  await page.locator("#history-empty").waitFor();
});

test("a login elsewhere is seen, and ended from here", async () => {
  const away = await open({ viewport: { width: 1280, height: 800 } });
  const other = await away.newPage();
  await other.goto(base.href);
  await logIn(fresh, other);
  await hook("text", other).waitFor();
  await hook("logins").click();
  const theirs = hook("login-item").filter({ has: page.locator('[data-test="end-login"]:visible') });
  await theirs.first().waitFor();
  const count = await theirs.count();
  assert.match(await theirs.first().innerText(), /Chrome on Linux/);
  await hook("end-login", theirs.first()).click();
  await page.waitForFunction((before) => document.querySelectorAll('[data-test="end-login"]:not([hidden])').length < before, count);
  await hook("close-logins").click();
  assert.equal(await focused(), "logins");
  await away.close();
});

test("a token that is over is renewed without a word", async () => {
  const cookies = (await desk.cookies()).filter(({ name }) => name !== "cosygate");
  await desk.clearCookies();
  await desk.addCookies(cookies);
  await page.reload();
  await hook("text").waitFor();
  assert.ok((await desk.cookies()).some(({ name }) => name === "cosygate"));
});

test("logging out closes the door", async () => {
  await hook("logout").click();
  await hook("login-form").waitFor();
  assert.equal((await desk.cookies()).some(({ name }) => name === "cosygate"), false);
  assert.equal(await hook("username").inputValue(), "");
  await page.reload();
  await hook("login-form").waitFor();
});

test("the keyboard alone is enough", async () => {
  await page.locator("#username:focus").waitFor();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "register-tab");
  assert.equal(await hook("register-tab").getAttribute("aria-selected"), "true");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Tab");
  await page.keyboard.type(known.username);
  await page.keyboard.press("Tab");
  await page.keyboard.type(known.password);
  await page.keyboard.press("Enter");
  await page.locator("#text:focus").waitFor();

  const audio = await speak(sentence, () => page.keyboard.press("Control+Enter"));
  await assertPlays(audio);
  await itemOf(sentence).waitFor();
  assert.equal(await focused(), "text");

  const reached = [];
  await page.locator("#main").focus();
  while (reached.at(-1) !== "delete" && reached.length < 40) {
    await page.keyboard.press("Tab");
    reached.push(await focused());
  }
  const stops = ["text", "voice", "speed", "generate", "result-audio", "play", "download", "use-again", "delete"];
  assert.deepEqual(reached.filter((name, at) => stops.includes(name) && reached.indexOf(name) === at), stops);
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "the focus can be seen");

  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "confirm-delete");
  await page.keyboard.press("Enter");
  await itemOf(sentence).waitFor({ state: "detached" });
});

test("links invite and let one back in", async () => {
  // The page belongs to the admin now.
  const ask = (method, path, body) =>
    page.evaluate(async ([method, path, body]) => {
      const headers = body ? { "content-type": "application/json" } : {};
      return (await fetch(path, { method, headers, body: body && JSON.stringify(body) })).json();
    }, [method, path, body]);
  const guest = await (await open({})).newPage();
  const name = `张伟-${randomBytes(3).toString("hex")}`;
  const invitation = await ask("POST", "/api/admin/invitations", { role: "premium" });
  await guest.goto(new URL(invitation.path, base).href);
  await hook("register-submit", guest).waitFor();
  assert.equal(new URL(guest.url()).hash, "", "the secret has left the address");
  await hook("username", guest).fill(name);
  await hook("password", guest).fill("password1");
  await hook("register-submit", guest).click();
  await guest.locator('[data-test="password"][aria-invalid="true"]').waitFor();
  assert.match(await guest.locator("#password-hint").innerText(), /guess/);
  await hook("password", guest).fill(fresh.password);
  await hook("register-submit", guest).click();
  await hook("text", guest).waitFor();
  assert.equal(await guest.locator("#account-role").innerText(), "premium");

  const { users } = await ask("GET", `/api/admin/users?search=${encodeURIComponent(name)}`);
  const reset = await ask("POST", `/api/admin/users/${users[0].user_id}/reset`);
  await guest.goto(new URL(reset.path, base).href);
  await hook("reset-submit", guest).waitFor();
  assert.equal(new URL(guest.url()).hash, "");
  assert.equal(await hook("username", guest).isVisible(), false);
  await hook("password", guest).fill(`${fresh.password} again`);
  await hook("reset-submit", guest).click();
  await hook("text", guest).waitFor();
  assert.equal(await guest.locator("#account-name").innerText(), name);
});

test("the description of the API can be read, on a phone too", async () => {
  const manual = await desk.newPage();
  await manual.setViewportSize({ width: 390, height: 800 });
  await manual.goto(new URL("/docs", base).href);
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
  await manual.close();
});

test("nothing left the origin and nothing was complained about", () => {
  const strangers = seen.requests.filter((url) => !/^(data|blob):/.test(url) && new URL(url).origin !== base.origin);
  assert.deepEqual(strangers, []);
  assert.deepEqual(seen.violations, []);
  assert.deepEqual(seen.complaints, []);
});
