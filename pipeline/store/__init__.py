"""What is kept: the run store by key, checkpoints, and the files that the stages hand on."""
