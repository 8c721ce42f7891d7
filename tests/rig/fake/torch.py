"""As much of torch as CosyVoice's servers touch."""

import numpy


class Tensor:
    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values

    def unsqueeze(self, dim):
        return Tensor(numpy.expand_dims(self.values, dim))

    def float(self):
        return Tensor(self.values.astype(numpy.float32))

    def __truediv__(self, divisor):
        return Tensor(self.values / divisor)

    def __repr__(self):
        return f"tensor({self.values})"


def from_numpy(values):
    return Tensor(values)
