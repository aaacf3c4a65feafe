"""The published numbers, as tables beside this file, and those who read them."""
