"""Ray's cluster: connected to, asked for room, given tasks, watched, and left."""
