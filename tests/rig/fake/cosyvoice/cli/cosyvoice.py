"""A model that says whose voice it was given and which words, and fails when it is told to.

RIG_MODEL: cosyvoice3 (default), cosyvoice2 or cosyvoice.
RIG_TAKES: `path`, as the newest CosyVoice wants a recording, or `tensor`, as it did until December 2025.

What is said begins with a marker of 160 bits: b"RIG!", eight bytes of SHA-256 over the recording (16-bit samples) or
the speaker's name, eight over the sentence. A one is 40 samples high and 40 low, a zero the other way round: webui.py
hands out what has been AAC on its way, and that does not blur it.
"""

import hashlib
import os
import re
import time

import numpy
import torch
from cosyvoice.utils.file_utils import load_wav

END_OF_PROMPT = "<|endofprompt|>"
PREFIX = "You are a helpful assistant."
MAX_PROMPT_SECONDS = 30


def AutoModel(**_):
    return Model(os.environ.get("RIG_MODEL", "cosyvoice3"), os.environ.get("RIG_TAKES", "path"))


class Model:
    sample_rate = 24000

    def __init__(self, model, takes):
        self.model, self.takes = model, takes
        self.speakers = [] if model == "cosyvoice3" else ["中文女", "英文男"]

    def list_available_spks(self):
        return self.speakers

    def inference_sft(self, tts_text, spk_id, stream=False, speed=1.0, text_frontend=True):
        yield from self._speak(tts_text, hash_of({name: name for name in self.speakers}[spk_id].encode()), speed)

    def inference_zero_shot(self, tts_text, prompt_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0):
        voice = self._voice(prompt_wav)
        self._check_prompt(prompt_text)
        yield from self._speak(tts_text, voice, speed)

    def inference_cross_lingual(self, tts_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0):
        voice = self._voice(prompt_wav)
        self._check_prompt(tts_text)
        yield from self._speak(tts_text.split(END_OF_PROMPT)[-1], voice, speed)

    def inference_instruct(self, tts_text, spk_id, instruct_text, stream=False, speed=1.0):
        assert self.model == "cosyvoice", "inference_instruct is only implemented for CosyVoice!"
        yield from self.inference_sft(tts_text, spk_id, stream, speed)

    def inference_instruct2(self, tts_text, instruct_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0):
        voice = self._voice(prompt_wav)
        assert instruct_text.endswith(END_OF_PROMPT)
        self._check_prompt(instruct_text)
        yield from self._speak(tts_text, voice, speed)

    def _check_prompt(self, prompt):
        if self.model == "cosyvoice3":
            assert prompt.count(END_OF_PROMPT) == 1 and prompt.startswith(PREFIX)

    def _voice(self, recording):
        is_path = isinstance(recording, str)
        if is_path != (self.takes == "path"):
            raise TypeError(f"Invalid file: {recording}")
        if is_path:
            recording = load_wav(recording, 16000)
        samples = recording.numpy().flatten()
        assert 0 < len(samples) <= MAX_PROMPT_SECONDS * 24000
        return hash_of(numpy.round(samples * 32768).astype("<i2").tobytes())

    def _speak(self, text, voice, speed):
        for sentence in filter(None, (one.strip() for one in re.split("[.!?。！？]", text))):
            if "pretend to fail" in sentence:
                raise RuntimeError("as it was told")
            if "pretend to hang" in sentence:
                time.sleep(3600)
            if "pretend to be silent" in sentence:
                continue
            bits = numpy.unpackbits(numpy.frombuffer(b"RIG!" + voice + hash_of(sentence.encode()), dtype=numpy.uint8))
            marker = numpy.repeat(numpy.column_stack([bits * 1.0 - 0.5, 0.5 - bits]).flatten(), 40)
            tone = numpy.tile(numpy.repeat([0.25, -0.25], 50), int(24 * len(sentence) / speed))
            yield {"tts_speech": torch.from_numpy(numpy.concatenate([marker, tone])[None].astype(numpy.float32))}


def hash_of(content):
    return hashlib.sha256(content).digest()[:8]
