"""MLflow: what is on disk is sent there once, and no stage waits for it."""
