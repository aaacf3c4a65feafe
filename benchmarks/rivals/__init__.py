"""What people run today, written in the usual manner. See benchmarks.harness."""
