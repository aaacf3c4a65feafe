from tests.factories.workspace import PATIENCE_S, ROOT, Workspace, make  # noqa: F401
