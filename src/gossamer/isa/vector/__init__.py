"""Vectors of 128 bits: lane by lane in bodies, and what the rows of `ops` mean."""
