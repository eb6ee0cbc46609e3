/* Runs floating-point instructions that it reads, one a line, and prints what they leave.
 *
 * Input: name FRA FRC FRB FPSCR (hexadecimal).  Output: FRT FPSCR CR1 traps.  FRT holds
 * 0123456789abcdef before.  Instructions have Rc=1 (compares: BF=1).  An enabled exception comes
 * as SIGFPE; the handler goes on behind the instruction and counts it.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#define INSTRUCTIONS(X) \
    X(fadd, "fadd. %0,%3,%5") X(fadds, "fadds. %0,%3,%5") \
    X(fsub, "fsub. %0,%3,%5") X(fsubs, "fsubs. %0,%3,%5") \
    X(fmul, "fmul. %0,%3,%4") X(fmuls, "fmuls. %0,%3,%4") \
    X(fdiv, "fdiv. %0,%3,%5") X(fdivs, "fdivs. %0,%3,%5") \
    X(fmadd, "fmadd. %0,%3,%4,%5") X(fmadds, "fmadds. %0,%3,%4,%5") \
    X(fmsub, "fmsub. %0,%3,%4,%5") X(fmsubs, "fmsubs. %0,%3,%4,%5") \
    X(fnmadd, "fnmadd. %0,%3,%4,%5") X(fnmadds, "fnmadds. %0,%3,%4,%5") \
    X(fnmsub, "fnmsub. %0,%3,%4,%5") X(fnmsubs, "fnmsubs. %0,%3,%4,%5") \
    X(frsp, "frsp. %0,%5") X(fctiw, "fctiw. %0,%5") X(fctiwz, "fctiwz. %0,%5") \
    X(fsel, "fsel. %0,%3,%4,%5") X(fcmpu, "fcmpu 1,%3,%5") X(fcmpo, "fcmpo 1,%3,%5")

static volatile int traps;

static double to_double(uint64_t x) { double d; memcpy(&d, &x, 8); return d; }
static uint64_t to_bits(double d) { uint64_t x; memcpy(&x, &d, 8); return x; }

static void skip(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    ((ucontext_t *)context)->uc_mcontext.uc_regs->gregs[32] += 4; /* NIA */
    traps++;
}

#define DEFINE(name, text) \
    static void do_##name(uint64_t a, uint64_t c, uint64_t b, uint32_t before) { \
        double frt = to_double(0x0123456789abcdefULL), fpscr; \
        uint32_t cr; \
        traps = 0; \
        asm volatile("mtfsf 255,%6\n\t" text "\n\tmffs %1\n\tmfcr %2\n\tmtfsf 255,%7" \
                     : "+&d"(frt), "=&d"(fpscr), "=&r"(cr) \
                     : "d"(to_double(a)), "d"(to_double(c)), "d"(to_double(b)), \
                       "d"(to_double(before)), "d"(0.0) : "cr1"); \
        printf("%016llx %08x %x %d\n", (unsigned long long)to_bits(frt), \
               (uint32_t)to_bits(fpscr), cr >> 24 & 15, traps); \
    }
INSTRUCTIONS(DEFINE)

int main(void) {
    struct sigaction action = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO | SA_NODEFER};
    char name[16];
    unsigned long long a, c, b;
    unsigned before;
    sigaction(SIGFPE, &action, NULL);
    while (scanf("%15s %llx %llx %llx %x", name, &a, &c, &b, &before) == 5) {
#define CALL(n, text) if (!strcmp(name, #n)) do_##n(a, c, b, before);
        INSTRUCTIONS(CALL)
    }
    return 0;
}
