"""From values of single repetitions to medians, spreads, ratios and verdicts."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of the repetitions."""

    median: float
    low: float
    high: float
    count: int


def spread(values):
    """Of the values that are there; None if there are none."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return Spread(statistics.median(present), min(present), max(present), len(present))


def ratio(values, others):
    """Repetition by repetition, where both have a value: what ran side by side is compared."""
    pairs = zip(values, others, strict=False)  # one of them may not have been run at all
    return spread([a / b for a, b in pairs if a is not None and b is not None and b > 0])


def verdict(value, goal):
    """`aim`, `required` or `missed` for a median ratio (or figure)."""

    def meets(bound):
        return value >= bound if goal.at_least else value <= bound

    if meets(goal.aim):
        return "aim"
    return "required" if meets(goal.required) else "missed"


class Results:
    """Every value of a run: per case, metric and peer a list with one entry a repetition (None: failed)."""

    def __init__(self, peers):
        self.peers = list(peers)
        self._values = {}
        self.failures = []
        # (case, peer, repetition, share of the window in which something else ran on the proxies' core)
        self.disturbances = []
        # (case, peer, repetition, share in which that core was busy) of saturated cases where it was not.
        self.held_back = []

    def add(self, case, peer, measured):
        """Appends one repetition's metrics; `measured` None marks it as failed."""
        for metric in case.metrics:
            value = None if measured is None else measured[metric.key]
            self._values.setdefault((case.name, metric.key, peer), []).append(value)

    def values(self, case, metric, peer):
        """The repetitions of a metric, in order."""
        return self._values.get((case.name, metric.key, peer), [])

    def spread(self, case, metric, peer):
        """Its median with spread, or None."""
        return spread(self.values(case, metric, peer))

    def ratio(self, case, metric, peer, against):
        """Pair by pair, or None."""
        return ratio(self.values(case, metric, peer), self.values(case, metric, against))

    def as_json(self):
        """For the file beside the table."""
        rows = [
            {"case": case, "metric": metric, "peer": peer, "values": values}
            for (case, metric, peer), values in self._values.items()
        ]
        return {
            "peers": self.peers,
            "values": rows,
            "failures": self.failures,
            "disturbances": self.disturbances,
            "heldBack": self.held_back,
        }
