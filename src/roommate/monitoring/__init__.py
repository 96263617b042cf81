"""What monitors are given: counts, Prometheus' text, the HTTP listener, alerts; only owner of prometheus_client."""
