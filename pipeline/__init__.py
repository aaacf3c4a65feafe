"""The stages prepare, train, evaluate and report, and everything that touches files, Ray or MLflow."""
