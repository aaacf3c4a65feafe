"""What the doctor looks at, one module a topic: each looks, on every node where it matters, and judges what it saw."""
