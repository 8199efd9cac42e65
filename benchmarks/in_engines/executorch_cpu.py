"""ExecuTorch with XNNPACK, of a .pt2."""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


def load(path, sets):
    program = torch.export.load(path)
    with torch.no_grad():  # it runs the graph, and a BatchNorm's statistics are computed in ours
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    buffer = lowered.buffer
    method = Runtime.get().load_program(buffer).load_method("forward")

    def run(arrays, buffer=buffer):  # which the runtime reads from, and does not keep
        return [top.numpy() for top in method.execute([torch.from_numpy(x) for x in arrays])]

    return run
