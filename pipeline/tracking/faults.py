"""What can be wrong with MLflow, told apart by what is to be done about it."""

import re

from pipeline.tracking.address import Address

TWICE = re.compile("IntegrityError|UniqueViolation|duplicate key", re.IGNORECASE)  # as SQLite, MySQL, PostgreSQL say it


class Away(Exception):
    """MLflow does not do it now; the same later may work."""


class Overtaken(Away):
    """Another has written the same at the same moment, and was first: nothing was written, and it is there now."""


class Refused(Exception):
    """MLflow will not take this experiment at all, however often it is asked."""


class Unfit(Exception):
    """MLflow does not take this run."""


class Gone(Exception):
    """The run is deleted in MLflow."""


def translated(code: str, text: str, address: Address) -> Exception:
    """MLflow's error as one of these, without a credential in its text."""
    if code == "RESOURCE_DOES_NOT_EXIST" or "must be in the 'active' state" in text:
        return Gone()
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED") or "error code 401" in text:
        number = 403 if code == "PERMISSION_DENIED" else 401
        check = "check MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return Away(f"refuses access (HTTP status {number}); {check}")
    if code == "BAD_REQUEST" and TWICE.search(text):
        return Overtaken(f"has had the same from another at once: {brief(text, address)}")
    if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"):
        return Unfit(f"MLflow refuses it: {brief(text, address)}")
    if "timeout exception" in text:
        return Away("does not answer in time")
    if status := re.search(r"too many (\d{3}) error responses", text):
        return Away(f"fails with HTTP status {status[1]}")
    if "failed with exception" in text and "onnection" in text:
        return Away("cannot be reached")
    return Away(f"fails: {brief(text, address)}")


def brief(text: str, address: Address) -> str:
    """Its first line."""
    return address.redacted((text.strip().splitlines() or ["no reason given"])[0])[:300]
