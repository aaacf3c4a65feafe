"""Where the run store lies, a folder or a bucket: its files, its locks, and who may write."""
