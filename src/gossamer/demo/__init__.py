"""Floor 7: `gossamer demo`, what `./run` shows."""
