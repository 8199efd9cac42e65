"""Moving weights from net to net: surgery, and VGG-16 from elsewhere."""

TRAINED_ON = ("torchvision", "caffe", "caffe-rgb")
"""The images that a VGG-16 may have been trained on, by name (trained_on.py)."""
