"""What the metric families of identities have in common."""

from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    """Return a family without samples yet, whose first label is the identity."""
    return GaugeMetricFamily(f"cert_agent_{name}", about, labels=("identity", *labels))
