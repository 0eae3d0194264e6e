"""The report of a study: its figures, described once for whatever draws them, its sections, and the page."""
