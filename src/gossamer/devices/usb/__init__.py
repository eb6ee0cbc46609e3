"""USB: the OHCI host controller and what is plugged into it."""
