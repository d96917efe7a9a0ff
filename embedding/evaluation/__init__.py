"""Evaluation: metrics, calibration, charts and contact sheets."""
