"""`gossamer verify cuts`: saved and loaded anywhere, a run ends in the same state."""
