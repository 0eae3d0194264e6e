"""What users call from Python: searches, trials and schedules inside programs of their own."""
