"""Floor 3: the CPU around its instructions: register block, MMU, exceptions, models."""
