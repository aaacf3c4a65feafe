"""The stages prepare, train, evaluate and report, and all that touches the world: files, Ray, MLflow."""
