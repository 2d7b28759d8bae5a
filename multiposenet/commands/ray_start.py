"""Ray, quiet: on this machine with nothing open to others, or the cluster at RAY_ADDRESS."""

import contextlib
import os

from multiposenet.commands.common import terminated_like_ctrl_c
from multiposenet.errors import UserError

QUIET = dict(RAY_BACKEND_LOG_LEVEL="fatal", RAY_DATA_LOG_LEVEL="ERROR", RAY_USAGE_STATS_ENABLED="0",
             RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
LOCALHOST = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0" makes Ray listen on the loopback address alone, on Linux too


@contextlib.contextmanager
def ray_started():
    """Ray while the block lasts -> number of cores.

    Raises:
        UserError: RAY_ADDRESS leads nowhere, or Ray does not start on this machine.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    for key, value in (QUIET | ({LOCALHOST: "0"} if address == "local" else {})).items():
        os.environ.setdefault(key, value)  # Ray reads them when it is imported
    import ray
    import ray.data

    try:
        _start(ray, address)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.data.DataContext.get_current().max_errored_blocks = -1  # the others are finished all the same
        with terminated_like_ctrl_c():  # Ray has put a handler of its own there
            yield int(ray.cluster_resources()["CPU"])
    finally:
        ray.shutdown()


def _start(ray, address):
    options = dict(include_dashboard=False) if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # of many kinds; a node that is too slow gives a bare Exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        help = "try again when the machine is less busy" if address == "local" else "start it, or unset RAY_ADDRESS"
        raise UserError(f"RAY_ADDRESS={address}: Ray does not start there ({reason}); {help}") from None
