"""Floor 5: compositions of chips, firmware, configuration."""
