"""Reading of recordings, with the checks that CosyVoice makes."""

import logging

import numpy
import soundfile
import torch

__all__ = ["load_wav", "logging"]


def load_wav(wav, target_sr, min_sr=16000):
    samples, rate = soundfile.read(wav, dtype="float32", always_2d=True)
    assert rate >= min_sr, f"wav sample rate {rate} must be greater than {target_sr}"
    # Not resampled: a hash of the samples has to come out at the other end.
    return torch.from_numpy(numpy.expand_dims(samples.mean(axis=1), 0))
