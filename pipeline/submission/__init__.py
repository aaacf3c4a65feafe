"""A job on a Ray cluster that runs the stages: what it is called, how its code goes up and its outputs come home."""
