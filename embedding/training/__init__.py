"""Training: data set preparation, recipes, the training loop and what it saves."""
