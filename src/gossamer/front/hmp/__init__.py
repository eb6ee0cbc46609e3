"""The human monitor: words in, text out, over the table of commands."""
