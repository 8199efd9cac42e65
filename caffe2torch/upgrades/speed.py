"""Fields of NVIDIA's and Intel's Caffe that say where, how fast or how precisely to compute go.

They change no result but its last digits, and BVLC's Caffe refuses a prototxt that has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from caffe2torch.schema import PRIVATE, Message

SPEED = frozenset(
    {
        # NVIDIA
        "forward_type",
        "backward_type",
        "forward_math",
        "backward_math",
        "debug",
        "cudnn_math_override",
        "cudnn_convolution_algo_seeker",
        "conv_algos_override",
        "random_seed",
        "default_forward_type",
        "default_backward_type",
        "default_forward_math",
        "default_backward_math",
        "default_conv_algos_override",
        "default_cudnn_math_override",
        "eltwise_mem_sharing",
        "reduce_buckets",
        "global_grad_scale",
        "global_grad_scale_adaptive",
        "threads",
        "parser_threads",
        "cache",
        "precache",
        # Intel; the last one is of a snapshot of a branch
        "engine",
        "conv_algorithm",
        "multinode",
        "bn_stats_batch_size",
        "compile_net_state",
        "device",
    }
)


def needs_speed(net: Message) -> bool:
    """Whether the net has such fields."""
    return any(True for _ in _speed_fields(net))


def drop_speed(net: Message, source: str) -> tuple[str, ...]:
    """Removes them from the net, and names them."""
    found = list(_speed_fields(net))
    for message, name in found:
        message.ClearField(name)
    names = ", ".join(dict.fromkeys(name for _, name in found))
    return (f"fields of forks that only say how fast to compute were left out: {names}",)


def _speed_fields(message: Message) -> Iterator[tuple[Message, str]]:
    for field, value in message.ListFields():
        if field.number >= PRIVATE and field.name in SPEED:
            yield message, field.name
        elif field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _speed_fields(inner)
