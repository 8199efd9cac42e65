"""Weights on their way from one net to another: surgery, and VGG-16 from elsewhere."""
