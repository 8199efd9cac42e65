"""A model on a split: predictions, the confusion matrix, and the four scores of the papers."""
