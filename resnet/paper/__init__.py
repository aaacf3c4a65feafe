"""Published numbers as CSV tables, and the modules that read them."""
