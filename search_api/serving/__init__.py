"""Serving requests: the live collection, its model, and the stages with their queues."""
