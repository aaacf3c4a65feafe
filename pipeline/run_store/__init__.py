"""The run store: finished runs and checkpoints by run key, kept outside of DVC's outputs."""
