"""Floating point in integers: the exact reference."""
