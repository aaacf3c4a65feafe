"""From data on disk to the batches that training and evaluation read."""
