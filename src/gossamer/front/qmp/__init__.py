"""QMP, the machine protocol: JSON over a character device, over the table of commands."""
