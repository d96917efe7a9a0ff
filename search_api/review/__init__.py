"""What staff review: open questions, the latest insights, the map."""
