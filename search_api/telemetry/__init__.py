"""Metrics, traces, timings, logs and activity."""
