"""MLflow as a function of the run store: what a stage says goes there once, and no stage waits for it."""

from pipeline.tracking.facts import Invocation, Outcome, RunFacts
from pipeline.tracking.reconcile import log_report, log_results, reconcile
from pipeline.tracking.tracker import PATIENCE_S, Tracker

__all__ = ["PATIENCE_S", "Invocation", "Outcome", "RunFacts", "Tracker", "log_report", "log_results", "reconcile"]
