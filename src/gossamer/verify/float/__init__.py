"""`gossamer verify float`: floating point against exact arithmetic."""
