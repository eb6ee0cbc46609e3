"""Stencils: the code of one instruction with holes for its operands, copied to make blocks.

`holes` says what goes into a hole, `text` writes the LLVM module, `made` compiles and reads it.
"""
