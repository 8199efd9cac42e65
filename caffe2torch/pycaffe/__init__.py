"""Caffe's Python interface on torch: `import caffe2torch.pycaffe as caffe`."""
