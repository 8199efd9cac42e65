"""The converters, one class per Caffe layer type. New files are found automatically; see CONTRIBUTING.md."""
