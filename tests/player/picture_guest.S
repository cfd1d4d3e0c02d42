# A guest that builds its screen in two steps, with five seconds between them in which it works and never halts. It says
# "drawing" and "drawn" on COM1 before and after, then rests; each key is answered with "key".
    .set TICKS, 0x46c
    .set SECONDS5, 91           # the BIOS counts 18.2 timer interrupts a second
    .set HALF, 320 * 100
    .include "boot_sector.inc"
    begin_boot_sector
    movw $0x0013, %ax           # int 10h: 320x200, 256 colours
    int $0x10
    movw $drawing, %si
    call say
    movw $0xa000, %ax
    movw %ax, %es
    xorw %di, %di
1:  movw %di, %ax
    stosb
    cmpw $HALF, %di
    jne 1b
    movl TICKS, %ebx
2:  movl TICKS, %eax
    subl %ebx, %eax
    cmpl $SECONDS5, %eax
    jb 2b
3:  movw %di, %ax
    stosb
    cmpw $(2 * HALF), %di
    jne 3b
    movw $drawn, %si
    call say
next:
    xorb %ah, %ah
    int $0x16
    movw $key, %si
    call say
    jmp next
    serial_routines
drive:   .byte 0
drawing: .asciz "drawing\r\n"
drawn:   .asciz "drawn\r\n"
key:     .asciz "key\r\n"
    end_boot_sector
    .org 1 << 20                # the rest of a 1 MiB disk
