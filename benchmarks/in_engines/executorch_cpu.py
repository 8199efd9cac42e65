"""ExecuTorch with XNNPACK, of a .pt2."""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


def load(path, arrays):
    program = torch.export.load(path)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    method = Runtime.get().load_program(lowered.buffer).load_method("forward")
    return lambda arrays: [top.numpy() for top in method.execute([torch.from_numpy(x) for x in arrays])]
