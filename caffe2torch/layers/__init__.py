"""The converters, one class per Caffe layer type. A new file here is found by itself; see CONTRIBUTING.md."""
