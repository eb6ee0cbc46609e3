"""Rows that only 64-bit parts have."""
