// The studio: text in, speech out, and what is kept of it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";

import {
  assertNothingLeft, base, focused, hasText, hook, itemOf, known, namelessControls, open, openPage, register, requests,
  scrollsSideways, smallTargets, someone,
} from "./harness.mjs";

const sentence = `你好, world. 第 ${randomBytes(3).toString("hex")} 句。`;
const attempts = 3;
let desk;
let page;

before(async () => {
  page = await openPage();
  desk = page.context();
  await register(page, someone());
  await page.waitForFunction(() => document.querySelector('[data-test="voice"]').options.length > 0);
});

const usedCharacters = async () => Number(/^[\d,]+/.exec(await hook(page, "usage-characters").innerText())[0].replaceAll(",", ""));

/** Has `text` spoken; `press` sends the form. Waits out a rate limit as a person would. */
async function speak(text, press) {
  const audio = hook(page, "result-audio");
  const before = await audio.getAttribute("src");
  await hook(page, "text").fill(text);
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    await press();
    const outcome = await page.waitForFunction((old) => {
      const one = (name) => document.querySelector(`[data-test="${name}"]`);
      const made = one("result-audio").getAttribute("src");
      if (made && made !== old) return "made";
      return one("generate").dataset.state === "waiting" ? "waiting" : one("alert").textContent;
    }, before);
    const said = await outcome.jsonValue();
    if (said === "made") return audio;
    assert.equal(said, "waiting", `generating failed: ${said}`);
    await hook(page, "generate").and(page.locator(":enabled")).waitFor();
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

test("a sentence in Chinese and English is spoken at once", async () => {
  await page.waitForFunction(() => /\d/.test(document.querySelector('[data-test="usage-characters"]').textContent));
  const usedBefore = await usedCharacters();
  const audio = await speak(sentence, () => hook(page, "generate").click());
  assert.match(await audio.getAttribute("src"), /^\/download\/[0-9A-Z]{26}$/);
  await assertPlays(audio);
  await itemOf(page, "history-item", sentence).waitFor();
  await page.waitForFunction(
    (old) => !document.querySelector('[data-test="usage-characters"]').textContent.startsWith(old),
    `${usedBefore} `,
  );
  assert.equal(await usedCharacters(), usedBefore + [...sentence].length);
});

test("playing one recording stops the other", async () => {
  await hook(page, "result-audio").evaluate((audio) => { audio.loop = true; return audio.play(); });
  await hook(itemOf(page, "history-item", sentence), "play").click();
  await assertPlays(itemOf(page, "history-item", sentence).locator("audio"));
  assert.equal(await hook(page, "result-audio").evaluate((audio) => audio.paused), true);
});

test("a download is a WAV file", async () => {
  const link = hook(itemOf(page, "history-item", sentence), "download");
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
  await itemOf(page, "history-item", sentence).waitFor();
  assert.equal(await hook(page, "login-form").isVisible(), false);
});

test("an earlier text can be used again", async () => {
  await hook(itemOf(page, "history-item", sentence), "use-again").click();
  assert.equal(await hook(page, "text").inputValue(), sentence);
  assert.equal(await focused(page), "text");
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
  await hook(page, "text").fill("It has to wait.");
  await hook(page, "generate").click();
  await page.waitForFunction(() => /\b3\b/.test(document.getElementById("job-state").textContent));
  await hook(page, "cancel").click();
  await hook(page, "job").waitFor({ state: "hidden" });
  await hook(page, "generate").and(page.locator(":enabled")).waitFor();
  assert.equal(cancelled, true);
  assert.equal(await hook(page, "alert").isVisible(), false);
  await page.unrouteAll();
  await hook(page, "text").fill(sentence);
});

test("styles are offered where the engine has them", async () => {
  assert.ok(await hook(page, "style").isHidden(), "this engine has none");
  const told = [];
  await page.route("**/api/voices", async (route) => {
    const answer = await (await route.fetch()).json();
    answer.abilities.instruct = true;
    answer.abilities.speed = false;
    answer.instructs = [
      { id: "cantonese", kind: "dialect", name: { en: "Cantonese", zh: "广东话" } },
      { id: "loud", kind: "manner", name: { en: "As loud as possible", zh: "尽量大声" } },
    ];
    await route.fulfill({ json: answer });
  });
  await page.route("**/api/generate", async (route) => {
    told.push(route.request().postDataJSON().instruct);
    const problem = { status: 400, code: "request_invalid", title: "x", detail: "Not spoken in this test." };
    await route.fulfill({ status: 400, contentType: "application/problem+json", body: JSON.stringify(problem) });
  });
  await page.reload();
  await hook(page, "style").waitFor();
  assert.ok(await hook(page, "speed").isHidden(), "this engine has one speed");
  assert.deepEqual(await hook(page, "style").locator("optgroup").evaluateAll((all) => all.map((one) => one.label)), [
    "Dialects",
    "Manners",
  ]);
  await hook(page, "text").fill(sentence);
  for (const [option, words] of [["", null], ["cantonese", null], ["…", " Softly. "]]) {
    await hook(page, "style").selectOption(option);
    assert.equal(await hook(page, "style-words").isVisible(), words !== null);
    if (words) await hook(page, "style-words").fill(words);
    const answered = page.waitForResponse("**/api/generate");
    await hook(page, "generate").click();
    await answered;
    await page.waitForFunction(() => !document.querySelector('[data-test="generate"]').disabled);
  }
  assert.deepEqual(told, [undefined, "cantonese", "Softly."]);
  await page.unroute("**/api/voices");
  await page.unroute("**/api/generate");
  await page.reload();
  await hook(page, "voice").waitFor();
});

test("a recording becomes a voice, is heard and deleted", async () => {
  await hook(page, "voice-new").click();
  await hook(page, "voice-sample").setInputFiles({ name: "me.wav", mimeType: "audio/wav", buffer: recording(3) });
  await hook(page, "voice-name").fill("My <b>voice</b>");
  await hook(page, "voice-transcript").fill("Good morning.");
  await hook(page, "voice-submit").click();
  // Without a word on whose voice it is, nothing is sent.
  assert.equal(await hook(page, "voice-item").count(), 0);
  await hook(page, "voice-consent-own").check();
  await hook(page, "voice-submit").click();
  await hook(page, "voice-item").waitFor();
  assert.match(await hook(page, "voice-item").innerText(), /My <b>voice<\/b>/);
  assert.match(await hook(page, "voice-advice").innerText(), /3.0 seconds/);
  await hook(page, "voice-item").locator("audio").evaluate((audio) => audio.play());
  await assertPlays(hook(page, "voice-item").locator("audio"));
  await hook(page, "voice-delete").click();
  assert.equal(await hook(page, "voice-item").count(), 1, "the first press only asks");
  await hook(page, "voice-delete").click();
  await hook(page, "voice-item").waitFor({ state: "detached" });
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

test("the count is in characters, and too many are not sent", async () => {
  await page.waitForFunction(() => /\d$/.test(document.getElementById("text-count").textContent));
  const limit = Number((await page.locator("#text-count").innerText()).split("/")[1].replaceAll(",", ""));
  await hook(page, "text").fill(` ${"𠮷".repeat(limit + 1)}\n`);
  const asked = requests().length;
  await hook(page, "generate").click();
  assert.equal(await hook(page, "text").getAttribute("aria-invalid"), "true");
  assert.match(await page.locator("#text-hint").innerText(), /by 1\b/);
  assert.equal(requests().slice(asked).some((url) => url.endsWith("/api/generate")), false);
  await hook(page, "text").fill("𠮷".repeat(limit));
  assert.equal(await hook(page, "text").getAttribute("aria-invalid"), "false");
});

const second = `Another one. ${randomBytes(3).toString("hex")}`;
const zipPath = "**/api/outputs/zip";

/** What an archive says of its files at its end: `[name, size]`. */
function filesIn(bytes) {
  const files = [];
  for (let at = bytes.indexOf("PK\x01\x02"); at >= 0; at = bytes.indexOf("PK\x01\x02", at + 1)) {
    const name = bytes.subarray(at + 46, at + 46 + bytes.readUInt16LE(at + 28)).toString();
    files.push([name, bytes.readUInt32LE(at + 24)]);
  }
  return files.toSorted();
}

/** It holds all that is shown. */
async function assertArchive(download) {
  assert.equal(await download.failure(), null);
  assert.equal(download.suggestedFilename(), "cosygate.zip");
  const links = await hook(hook(page, "history-item"), "download").evaluateAll((all) => all.map((link) => link.pathname));
  const names = links.map((path) => path.replace("/download/", "cosygate-") + ".wav");
  const files = filesIn(await readFile(await download.path()));
  assert.deepEqual(files.map(([name]) => name), [...names, "outputs.jsonl"].toSorted());
  for (const [name, size] of files) assert.ok(size > (name.endsWith(".wav") ? 10_000 : 100), `${name}: ${size} bytes`);
}

test("several recordings are taken along as one archive", async () => {
  await speak(second, () => hook(page, "generate").click());
  await itemOf(page, "history-item", second).waitFor();
  assert.deepEqual(await namelessControls(page), []);
  assert.equal(await hook(page, "selection-download").isDisabled(), true);
  for (const text of [sentence, second]) await hook(itemOf(page, "history-item", text), "select").check();
  await hasText(page, "selection-count", "Selected: 2");
  assert.equal(await hook(page, "select-all").isChecked(), true);
  await assertArchive(await downloadBy(hook(page, "selection-download")));
  await hasText(page, "selection-count", "Selected: 2");
});

test("a selection outlasts a search", async () => {
  await hook(page, "history-search").fill(second);
  await itemOf(page, "history-item", sentence).waitFor({ state: "detached" });
  await itemOf(page, "history-item", second).waitFor();
  await hasText(page, "selection-count", "Selected: 2");
  await hook(page, "select-all").uncheck();
  await hasText(page, "selection-count", "Selected: 1");
  await hook(page, "history-search").fill("");
  await itemOf(page, "history-item", sentence).waitFor();
  assert.equal(await hook(itemOf(page, "history-item", sentence), "select").isChecked(), true);
  assert.equal(await hook(itemOf(page, "history-item", second), "select").isChecked(), false);
  assert.equal(await hook(page, "select-all").evaluate((box) => box.indeterminate), true);
  await hook(page, "select-none").click();
  await hasText(page, "selection-count", "Selected: 0");
  assert.equal(await focused(page), "select-all");
});

test("the keyboard alone selects and downloads", async () => {
  await hook(itemOf(page, "history-item", sentence), "play").focus();
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "select");
  await page.keyboard.press("Space");
  await hasText(page, "selection-count", "Selected: 1");
  await hook(page, "select-all").focus();
  await page.keyboard.press("Space");
  await hasText(page, "selection-count", "Selected: 2");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "select-none");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "selection-download");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  await assertArchive(download);
  await page.locator('[data-test="selection-download"]:focus').waitFor();
});

test("what goes wrong with an archive is said, and nothing is lost by it", async () => {
  const problem = (status, code, headers = {}) => (route) =>
    route.fulfill({ status, headers, contentType: "application/problem+json", body: JSON.stringify({ status, code, detail: `The ${code} of this test.` }) });
  for (const [answer, said] of [
    [problem(404, "not_found"), "is gone"],
    [problem(429, "rate_limited", { "retry-after": "60" }), "rate_limited of this test"],
    [problem(503, "overloaded", { "retry-after": "60" }), "overloaded of this test"],
    [(route) => route.abort(), "cannot be reached"],
  ]) {
    await page.route(zipPath, answer);
    await hook(page, "selection-download").click();
    await hasText(page, "alert", said);
    await hook(page, "selection-download").and(page.locator(":enabled")).waitFor();
    await hasText(page, "selection-count", "Selected: 2");
    await page.unroute(zipPath);
  }
  await page.route(zipPath, problem(429, "rate_limited", { "retry-after": "1" }), { times: 1 });
  await assertArchive(await downloadBy(hook(page, "selection-download")));
  assert.equal(await hook(page, "alert").innerText(), "");
});

test("a deleted recording is selected no more", async () => {
  await hook(itemOf(page, "history-item", second), "delete").click();
  await hook(page, "confirm-delete").click();
  await hasText(page, "selection-count", "Selected: 1");
  await assertArchive(await downloadBy(hook(page, "selection-download")));
});

test("a selection outlasts a further page, and too many are not sent", async () => {
  // The server is played here: so long a history takes too long to make.
  const entry = { text: "Word.", voice: "robot", seconds: 1, created_at: "2026-11-23T12:00:00Z" };
  const ids = Array.from({ length: 120 }, (_, at) => `01ARZ3NDEKTSV4RRFFQ69${String(999 - at).padStart(5, "0")}`);
  await page.route("**/api/outputs?*", (route) => {
    const from = ids.indexOf(new URL(route.request().url()).searchParams.get("before")) + 1;
    const outputs = ids.slice(from, from + 60).map((id) => ({ ...entry, id }));
    return route.fulfill({ json: { outputs, next: from === 0 ? outputs.at(-1).id : null } });
  });
  await page.reload();
  await hook(page, "select-all").check();
  await hasText(page, "selection-count", "Selected: 60");
  await hook(page, "more").click();
  await page.waitForFunction(() => document.querySelectorAll('[data-test="history-item"]').length === 120);
  await hasText(page, "selection-count", "Selected: 60");
  assert.equal(await hook(page, "select-all").evaluate((box) => box.indeterminate), true);
  assert.equal(await hook(page, "selection-download").isEnabled(), true);
  await hook(page, "select-all").check();
  await hasText(page, "selection-count", "at most 100; deselect 20");
  assert.equal(await hook(page, "selection-download").isDisabled(), true);
  await page.unroute("**/api/outputs?*");
  await page.reload();
  await itemOf(page, "history-item", sentence).waitFor();
});

test("a phone shows everything without scrolling sideways", async () => {
  const pocket = await open({
    viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, storageState: await desk.storageState(),
  });
  const phone = await pocket.newPage();
  await phone.goto(base.href);
  await hook(itemOf(phone, "history-item", sentence), "select").check();
  await hook(phone, "select-none").waitFor();
  assert.equal(await scrollsSideways(phone), false);
  assert.deepEqual(await smallTargets(phone), [], "targets below 44 pixels");
  await pocket.close();
});

test("deleting asks first, and can be called off", async () => {
  const item = itemOf(page, "history-item", sentence);
  await hook(item, "delete").focus();
  await page.keyboard.press("Enter");
  await hook(page, "confirm-delete").waitFor();
  assert.equal(await focused(page), "cancel-delete");
  await page.keyboard.press("Escape");
  assert.equal(await hook(page, "confirm-delete").isVisible(), false);
  assert.equal(await focused(page), "delete");
  assert.equal(await item.count(), 1);
});

test("deleting removes the recording for good", async () => {
  await hook(itemOf(page, "history-item", sentence), "delete").click();
  await hook(page, "confirm-delete").click();
  await itemOf(page, "history-item", sentence).waitFor({ state: "detached" });
  await page.reload();
  await page.locator("#history-empty").waitFor();
});

test("the keyboard alone is enough", async () => {
  await hook(page, "logout").click();
  await page.locator("#username:focus").waitFor();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), "register-tab");
  assert.equal(await hook(page, "register-tab").getAttribute("aria-selected"), "true");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Tab");
  await page.keyboard.type(known.username);
  await page.keyboard.press("Tab");
  await page.keyboard.type(known.password);
  await page.keyboard.press("Enter");
  await page.locator("#text:focus").waitFor();

  const audio = await speak(sentence, () => page.keyboard.press("Control+Enter"));
  await assertPlays(audio);
  await itemOf(page, "history-item", sentence).waitFor();
  assert.equal(await focused(page), "text");

  const reached = [];
  await page.locator("#main").focus();
  while (reached.at(-1) !== "delete" && reached.length < 40) {
    await page.keyboard.press("Tab");
    reached.push(await focused(page));
  }
  const stops = ["text", "voice", "speed", "generate", "result-audio", "play", "download", "use-again", "delete"];
  assert.deepEqual(reached.filter((name, at) => stops.includes(name) && reached.indexOf(name) === at), stops);
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "the focus can be seen");

  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "confirm-delete");
  await page.keyboard.press("Enter");
  await itemOf(page, "history-item", sentence).waitFor({ state: "detached" });
});

test("nothing left the origin and nothing was complained about", assertNothingLeft);
