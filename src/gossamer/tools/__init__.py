"""Floor 7: programs on streams and measurements; `stream_cli` is `gossamer stream`."""
