"""RKNN's simulator of an rk3588, in half precision."""

import onnx
from rknn.api import RKNN


def load(path, sets):
    graph = onnx.load(path).graph
    toolkit = RKNN()
    toolkit.config(target_platform="rk3588")
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input]
    names = [value.name for value in graph.input]
    for done in (toolkit.load_onnx(path, inputs=names, input_size_list=shapes),
                 toolkit.build(do_quantization=False), toolkit.init_runtime()):  # fmt: skip
        if done:
            raise RuntimeError(f"ends with {done}")
    return lambda arrays: toolkit.inference(inputs=list(arrays), data_format="nchw")
