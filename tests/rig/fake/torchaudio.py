"""As much of torchaudio as webui.py touches."""

import soundfile


class Info:
    def __init__(self, path):
        self.sample_rate = soundfile.info(path).samplerate


def info(path):
    return Info(path)
