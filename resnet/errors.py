"""What can go wrong with a run that is nobody's mistake."""


class WorkerLost(Exception):
    """Another worker of the run is gone, so that nothing can be summed any more."""
