"""What all formats share: the Model to write, an Output that appears whole or not at all, the check."""

DTYPES = ("float32", "float16", "bfloat16")
"""What parameters can be written as."""

UPSAMPLING = ("grouped", "dense")
"""How ONNX may have bilinear upsampling."""
