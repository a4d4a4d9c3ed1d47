"""Where ecsd may report something else than the reference agent, scenario by scenario, each with its reason.

compare.py is exact by default. A rule changes an extracted report (see compare.py) in place, on both sides,
so that what is allowed to differ no longer does. Anything added here needs a reason that a user of ECS
would accept."""


def _exit_code_while_running(task):
    for changes in task["containers"].values():
        for change in changes:
            if change["status"] == "RUNNING":
                change.pop("exitCode", None)


def _batch_timer(task):
    """Leaves of each run of equal statuses the first, and no PENDING that only carried container changes."""
    kept = []
    for status in task["task"]:
        if status["status"] == "PENDING" and not status["pulling"]:
            continue
        if not kept or kept[-1] != status:
            kept.append(status)
    task["task"] = kept


# (scenarios, rule, reason)
DIFFERENCES = [
    (("fast-exit", "killed", "depends-on", "depends-on-fail"), _exit_code_while_running,
     "a container change RUNNING carries an exit code only if the container had ended by the time it was "
     "inspected: that is a race between the container and the agent"),
    (("depends-on", "depends-on-fail", "essential-exit"), _batch_timer,
     "collected container changes go out when a timer of a random 10 to 30 s ticks, with the task's present "
     "status repeated; whether it ticks in between is chance"),
]

# Recordings of TLS: what comes out differently, and why.
TLS = {
    "tls-ca-port8443": ({"acs": True}, "the reference compares the certificate's name with host and port, which can "
                        "never be equal: a fault. The host alone is verified, so any port works"),
}
# What the reference asks of the metadata service at its start and ecsd does not, and why. Asking is allowed.
IMDS_NOT_ASKED = {
    "/latest/user-data": "configuration in user data is read only where it is supported",
    "/latest/meta-data/local-ipv4": "for the metadata endpoints of tasks, which are not there yet",
    "/latest/meta-data/public-ipv4": "for the metadata endpoints of tasks, which are not there yet",
}


def apply(name, report):
    for scenarios, rule, _ in DIFFERENCES:
        if name in scenarios:
            for task in report:
                rule(task)
