"""The instruction set, described once: expressions, operations, forms, bodies, text.

Read `expr` (values), `ops` (what each operation means), `body` (what a body may do), `form` and
`insn` (encodings), then `spec/` (the instructions themselves).  `evaluate` runs a body on Python
integers: the reference.  Nothing here knows LLVM.
"""
