"""Assembly text: `assemble` a source, `disassemble` a word."""

from gossamer.isa.text.assembler import Program, assemble, assemble_program
from gossamer.isa.text.disassembler import disassemble

__all__ = ["Program", "assemble", "assemble_program", "disassemble"]
