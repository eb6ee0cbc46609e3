"""Floor 6: the virtual machine as a user handles it: run, save, load, hash."""
