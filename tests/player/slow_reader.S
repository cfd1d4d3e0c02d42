# A guest that asks the BIOS for two keys each timer interrupt, 36 a second at most, and sends their characters to COM1
# after "ready". A person, or a program, that types faster fills the BIOS's 15 places.
    .set TICKS, 0x46c
    .include "boot_sector.inc"
    begin_boot_sector
    movw $ready, %si
    call say
next:
    movl TICKS, %ebx
1:  hlt
    cmpl %ebx, TICKS
    je 1b
    xorb %ah, %ah
    int $0x16
    call send
    xorb %ah, %ah
    int $0x16
    call send
    jmp next
    serial_routines
drive: .byte 0
ready: .asciz "ready "
    end_boot_sector
    .org 1 << 20                # the rest of a 1 MiB disk
