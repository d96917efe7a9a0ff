"""The data that staff review: open questions, the latest insights, the map."""
