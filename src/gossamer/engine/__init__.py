"""Floor 4: engines that run the instruction set.  The only place that knows LLVM.

Read `context` (what native code sees), `emit` (expressions and statements to LLVM text),
`handlers` (one function an instruction), `runtime` (dispatch, slow paths, TLBs), `build` (compile
and cache), `tier0` (the interpreter), `reference` (Python integers).
"""
