// Uses the official OpenAI library as its users do, and prints what came of it as JSON.
//
// Takes a JSON object on standard input: base_url and token.

import { text } from "node:stream/consumers";
import OpenAI from "openai";

const given = JSON.parse(await text(process.stdin));
const client = new OpenAI({ baseURL: given.base_url, apiKey: given.token, maxRetries: 0 });
const said = { models: (await client.models.list()).data.map((model) => model.id) };
const usual = { model: "tts-1", voice: "alloy", input: "Hello." };

const speech = await client.audio.speech.create({ ...usual, response_format: "flac" });
said.flac = Buffer.from(await speech.arrayBuffer()).subarray(0, 4).toString();

const streamed = await client.audio.speech.create({ ...usual, response_format: "pcm", stream_format: "sse" });
const lines = (await streamed.text()).split("\n\n").filter(Boolean);
said.events = [...new Set(lines.map((line) => JSON.parse(line.replace(/^data: /, "")).type))];

async function failure(asked) {
  try {
    await asked();
  } catch (error) {
    return [error.constructor.name, error.status, error.code ?? null];
  }
}
said.voice = await failure(() => client.audio.speech.create({ ...usual, voice: "nobody" }));
said.model = await failure(() => client.audio.speech.create({ ...usual, model: "gpt-9" }));
const stranger = new OpenAI({ baseURL: given.base_url, apiKey: "nonsense", maxRetries: 0 });
said.stranger = (await failure(() => stranger.models.list())).slice(0, 2);
console.log(JSON.stringify(said));
