# For registers.c: loads every register from registers_in, runs 20 probes on xmm0-2, stores every register to registers_out.
# struct registers { uint8_t vector[32][64]; uint64_t opmask[8], gpr[16]; }, all of it RIP-relative so that no register is needed for an address.
    .altmacro
    .set opmasks, 32*64
    .set gprs, opmasks + 64

    .macro general direction
    .set i, 0
    .irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    .ifc direction, in
    mov registers_in+gprs+i(%rip), %r
    .else
    mov %r, registers_out+gprs+i(%rip)
    .endif
    .set i, i+8
    .endr
    .endm

    .macro all_registers name, kind, last, opmask
    .text
    .balign 64
    .globl name
    .type name, @function
name:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    .set n, 3
    .rept last-2
    vector_in kind, %n
    .set n, n+1
    .endr
    .if opmask
    .irp mask, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq registers_in+opmasks+8*mask(%rip), %k\mask
    .endr
    .endif
    general in
    .rept 20
    vfmadd231ps %xmm2, %xmm1, %xmm0
    .endr
    general out
    .set n, 3
    .rept last-2
    vector_out kind, %n
    .set n, n+1
    .endr
    .if opmask
    .irp mask, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %k\mask, registers_out+opmasks+8*mask(%rip)
    .endr
    .endif
    vzeroupper
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size name, .-name
    .endm

    .macro vector_in kind, n
    vmovups registers_in+64*n(%rip), %kind&n
    .endm
    .macro vector_out kind, n
    vmovups %kind&n, registers_out+64*n(%rip)
    .endm

    all_registers vectors_avx, ymm, 15, 0
    all_registers vectors_avx512, zmm, 31, 1
    .section .note.GNU-stack, "", @progbits
