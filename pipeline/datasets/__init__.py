"""Where the data come from: one module for each data set, and what they share."""
