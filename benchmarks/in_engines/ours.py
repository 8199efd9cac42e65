"""caffe2torch: `optimize`, in fp32 or bf16, and what `load` gives, in both memory formats."""

import torch

import caffe2torch as c2t


def load(path, how):
    if how in ("fp32", "bf16"):
        fast = c2t.optimize(path, precision=how)
        return lambda array: fast(torch.from_numpy(array)).numpy()
    model = c2t.load(path)
    layout = torch.channels_last if how == "channels_last" else torch.contiguous_format
    model.to(memory_format=layout)

    def run(array):
        with torch.inference_mode():
            return model(torch.from_numpy(array).contiguous(memory_format=layout)).numpy()

    return run
