from tests.factories.tiny_run import *  # noqa: F403
