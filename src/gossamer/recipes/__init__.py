"""Floor 6: guests that are built here from a distribution's source packages: `gossamer guest`."""
