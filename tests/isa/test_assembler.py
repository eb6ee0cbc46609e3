"""Assembly text to bytes, and its errors."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gossamer.base.errors import AsmError
from gossamer.isa.text import assemble, assemble_program


def word(text: str, origin: int = 0) -> int:
    return int.from_bytes(assemble(text, origin), "big")


def test_labels_and_branches():
    code = assemble(
        "start: li r3,1\n1: addi r3,r3,-1\n cmpwi r3,0\n bne 1b\n b 1f\n nop\n1: b start"
    )
    words = [code[n : n + 4].hex() for n in range(0, len(code), 4)]
    expected = "38600001 3863ffff 2c030000 4082fff8 48000008 60000000 4bffffe8"
    assert " ".join(words) == expected


def test_data_directives():
    source = '.byte 1,0xff,-1\n.align 2\n.half 0x1234\n.short -2\n.long sym+4\n.asciz "a\\n"\n'
    source += '.equ sym, 0x8000\n.ascii "b;#c"\n.balign 4\n.space 3,0xAA\n'
    expected = "01ffff00 1234 fffe 00008004 610a00 623b2363 00 aaaaaa"
    assert assemble(source).hex() == expected.replace(" ", "")


def test_org_is_an_address():
    assert (
        assemble("nop\n.org 0x1010\n.long .", 0x1000).hex() == "60000000" + "00" * 12 + "00001010"
    )


def test_halves_of_a_symbol():
    program = "lis r3,v@ha; addi r3,r3,v@l; lis r4,v@h; ori r4,r4,v@l; lwz r5,v@l(r3)"
    code = assemble(program, symbols={"v": 0x1234_9ABC})
    assert code.hex() == "3c601235" + "38639abc" + "3c801234" + "60849abc" + "80a39abc"


def test_expressions_bind_as_in_c():
    assert word(".long 1+2*3<<4|1") == 0x71
    assert word(".long ~0&0xff00>>(2+2)") == 0xFF0
    assert word(".long -7/2") == 0xFFFF_FFFD
    assert word(".long 'A'+1") == 0x42


def test_symbols_of_a_program():
    program = assemble_program("a: nop\nb: nop", 0x100)
    assert (program.symbols["a"], program.symbols["b"]) == (0x100, 0x104)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nop\n  frob r1", "unknown instruction 'frob' (line 2, column 3)"),
        (".frob 1", "unknown directive '.frob' (line 1, column 1)"),
        ("addi r1,r2", "addi: expected operands RT,RA,SI, got r1,r2 (line 1, column 1)"),
        (
            "addi r1,r2,40000",
            "addi: SI is 40000 (0x9c40), which does not fit in 16 bits (line 1, col",
        ),
        ("b 2", "b: LI is 2 (0x2), expected a multiple of 4 (line 1, column 3)"),
        ("add r1,r2,f3", "add: RB is a general register, got 'f3' (line 1, column 11)"),
        ("addi r1,r2,r3", "addi: SI is a number, got 'r3' (line 1, column 12)"),
        ("add r1,r2,r32", "add: there is no register 'r32' (line 1, column 11)"),
        ("b nowhere", "symbol 'nowhere' is not defined (line 1, column 3)"),
        ("b 1f", "local label '1f' is not defined (line 1, column 3)"),
        ("a: nop\na: nop", "symbol 'a' is defined twice (line 2, column 1)"),
        (".long 1+", "expected a number or symbol, got the end (line 1, column 9)"),
        (".long 1/0", "division by zero (line 1, column 8)"),
        (".long 1$2", "unexpected '$2' after an expression (line 1, column 8)"),
        (".long 1?2", "cannot read '?2' in an expression (line 1, column 8)"),
        (".byte 256", ".byte: 256 does not fit in 1 bytes (line 1, column 7)"),
        (".ascii x", ".ascii: expected a string, got 'x' (line 1, column 8)"),
        (".org 4\nnop\n.org 0", ".org: 0 lies 8 bytes back (line 3, column 6)"),
        (".byte 1\nnop", "nop: address 0x1 is no word's (line 2, column 1)"),
        (".irp n,1\nnop", ".irp without .endr (line 1, column 1)"),
        ("mfspr r3,1024", "mfspr: SPR 1024, expected 0..1023 (line 1, column 10)"),
        ("lwz r3,4", "lwz: expected operands RT,D(RA), got r3,4 (line 1, column 1)"),
    ],
)
def test_errors_name_line_and_column(source, message):
    with pytest.raises(AsmError) as caught:
        assemble(source)
    assert message in str(caught.value)


SIMPLIFIED = """
li r3,-1; lis r4,0x8000; lis r4,-32768; la r5,8(r6); mr r1,r2; mr. r1,r2; not r3,r4; nop
subi r1,r2,4; subis r1,r2,1; subic. r3,r3,1; sub r3,r4,r5; sub. r3,r4,r5; subco r3,r4,r5
slwi r3,r4,5; srwi r3,r4,5; srwi. r3,r4,31; clrlwi r3,r4,16; clrrwi r3,r4,3; rotlwi r3,r4,9
rotrwi r3,r4,4; extlwi r3,r4,8,4; extrwi r3,r4,8,4; inslwi r3,r4,8,4; insrwi r3,r4,8,4
clrlslwi r3,r4,8,4; rotlw r3,r4,r5; cmpwi r3,1; cmpwi cr2,r3,-1; cmplwi r3,0xffff; cmpw r3,r4
cmplw cr7,r3,r4; mtlr r0; mflr r0; mtctr r12; mfctr r3; mtxer r3; mfxer r4; mtcr r5; mfcr r5
crset 2; crclr 4*cr1+eq; crmove 0,1; crnot 4*cr7+so,lt; trap; twge r3,r4; twlti r3,5; tweqi r3,0
blr; blrl; bctr; bctrl; beqlr; bnelr cr3; bdnzlr; bgtctr; bltctrl cr2; sync; isync; eieio
mtsprg 0,r3; mtsprg1 r4; mfsprg r5,2; mfsprg3 r6; mtdec r3; mfdec r3; mtsrr0 r3; mfsrr1 r3; mftb r3
mftbu r3; mttbl r3; mttbu r3; mtibatu 0,r3; mfibatl r3,1; mtdbatu 3,r3; mfpvr r3; mtear r3
mtsdr1 r3; mfdar r3; mfdsisr r3; lwzu r3,4(r1); stmw r31,-4(r1); lswi r3,r20,32; mtfsfi 3,5
bdnz .; bdz .; beq .; bne cr1,.; blt+ .; bgt- .; bgel .; beqa 0x100; bdnzt 4*cr1+eq,.; bso .
bt 2,.; bf 4*cr2+gt,.; bl .; ba 0x100; bla 0x100; bc 12,2,.; bclr 20,0; bns cr7,.; bng .; bnl .
"""


@pytest.mark.interop
def test_simplified_mnemonics_agree_with_gnu_as(tmp_path):
    tool = shutil.which("powerpc-linux-gnu-as")
    if tool is None:
        pytest.skip("powerpc-linux-gnu-as is not installed")
    statements = [
        s.strip() for line in SIMPLIFIED.splitlines() for s in line.split(";") if s.strip()
    ]
    (tmp_path / "s.s").write_text("\n".join(statements) + "\n")
    subprocess.run([tool, "-m7400", "-mregnames", "s.s", "-o", "s.o"], cwd=tmp_path, check=True)
    copy = ["powerpc-linux-gnu-objcopy", "-O", "binary", "-j", ".text", "s.o", "s.bin"]
    subprocess.run(copy, cwd=tmp_path, check=True)
    theirs = (tmp_path / "s.bin").read_bytes()
    ours = assemble("\n".join(statements))
    pairs = zip(statements, range(0, len(ours), 4), strict=True)
    wrong = [
        (s, ours[n : n + 4].hex(), theirs[n : n + 4].hex())
        for s, n in pairs
        if ours[n : n + 4] != theirs[n : n + 4]
    ]
    assert not wrong
    assert len(ours) == len(theirs)
