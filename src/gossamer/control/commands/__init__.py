"""The commands: one table (`table`), filled by the files beside it; `rows` has all of it."""
