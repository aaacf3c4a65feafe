"""The evaluate stage: finished runs on every split, and any weights on any tree of images."""
