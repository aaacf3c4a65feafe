"""The train stage: what is to do, the worker that does it, several of them, and what a person sees meanwhile."""
