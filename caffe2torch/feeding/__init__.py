"""The data layers that read: from a Layer, a phase and a seed to one batch after another."""
