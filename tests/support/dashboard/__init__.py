"""The dashboard for tests: its sites, Chromium, and the README's pictures."""
