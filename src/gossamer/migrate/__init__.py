"""Floor 3: QEMU's migration stream, read and written, whatever machine it is of.

`source` reads a file through a window; `framing` walks header, sections, commands and footers;
`ram`, `ram_writer` and `pages` know RAM records; `vmdesc` and `values` turn bodies into named
values and back; `inspect` opens a whole stream; `rewrite` re-emits it; `description` and `compat`
say which schema loads which; `multifd` and `returnpath` read captures of the other channels.
"""
