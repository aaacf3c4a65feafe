"""Ray: the connection, its capacity, and the tasks that train and evaluate on it.

Ray reads its environment when it is imported, so this package sets it before any of its modules imports Ray.
"""

import os
import secrets

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",  # for Prometheus
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # driver and workers share one environment already
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
# A Ray of this process alone takes a token that only the process and its children know: no other user of the machine
# can submit work to it.
if not os.environ.get("RAY_ADDRESS") and not any(_name in os.environ for _name in AUTHENTICATION):
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
