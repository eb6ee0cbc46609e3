"""Regions: hot guest code as control-flow graphs that LLVM compiles, entered like handlers.

Read `code` (one instruction), `forming` (the graph), `writer` and its parts (LLVM text),
`compiling`, `installed` (which regions are in force), `regions` (when to make and drop them),
`soon` (when all that is loaded).  See docs/engine.md.
"""
