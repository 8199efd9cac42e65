"""Moving weights from net to net: surgery, and VGG-16 from elsewhere."""
