"""Decimal floating point on integers: formats, rounding, and each operation with its FPSCR."""
