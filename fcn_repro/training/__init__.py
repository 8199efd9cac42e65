"""Training by a recipe: first weights, the loop, snapshots, the log."""
