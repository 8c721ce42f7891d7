"""Uses the official OpenAI library as its users do, and prints what came of it as JSON.

Takes a JSON object on standard input: base_url, token, sample (path of a WAV file) and consent.
"""

import base64
import json
import sys

import openai

given = json.load(sys.stdin)
client = openai.OpenAI(base_url=given["base_url"], api_key=given["token"], max_retries=0)
said = {"models": [model.id for model in client.models.list()]}

speech = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, world.")
said["mp3"] = [speech.response.headers["content-type"], base64.b64encode(speech.read()).decode()]
with client.audio.speech.with_streaming_response.create(
    model="tts-1", voice="echo", input="Hello, world.", response_format="wav"
) as streamed:
    said["wav"] = b"".join(streamed.iter_bytes())[:4].decode()

with open(given["sample"], "rb") as sample:
    voice = client.audio.voices.create(
        name="Anna", audio_sample=sample, consent=given["consent"], extra_body={"ref_text": "Good morning."}
    )
said["voice"] = [voice.object, voice.name, voice.type]


def failure(**changed):
    try:
        client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": "Hello.", **changed})
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code]


said["own"] = failure(voice=voice.id)
said["aac"] = failure(response_format="aac")
said["model"] = failure(model="gpt-9")
stranger = openai.OpenAI(base_url=given["base_url"], api_key="nonsense", max_retries=0)
try:
    stranger.models.list()
except openai.APIStatusError as error:
    said["stranger"] = [type(error).__name__, error.status_code, None]
# The day's last generation, and one more.
said["quota"] = [failure(), failure()]
print(json.dumps(said))
