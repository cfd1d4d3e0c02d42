# A guest for session tests: one boot sector that says on COM1 what it finds, then obeys keys.
#   sector 1 begins with 'P' on a fresh disk: "pristine"; with 'D': "dirty"
#   w  writes 'D' there: "written" or "write error"     q  turns the machine off
#   r  resets it                                        !  says "halting" and halts for good
#   others: "key N" with the scan code in hex
# The screen is white on blue, with "session guest" on it.
    .include "boot_sector.inc"
    begin_boot_sector
    movw $0x0003, %ax           # int 10h: 80x25 text
    int $0x10
    movw $0x0600, %ax           # clear to white on blue
    movb $0x1f, %bh
    xorw %cx, %cx
    movw $0x184f, %dx
    int $0x10
    movw $screen_text, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0e, %ah
    xorw %bx, %bx
    int $0x10
    jmp 1b
2:  movb $0x42, %ah
    call disk
    movw $pristine, %si
    cmpb $'P', buffer
    je 3f
    movw $dirty, %si
3:  call say
next:
    xorb %ah, %ah
    int $0x16
    cmpb $'w', %al
    je write
    cmpb $'q', %al
    je off
    cmpb $'r', %al
    je reset
    cmpb $'!', %al
    je halt
    movb %ah, %bl
    movw $key, %si
    call say
    movb %bl, %al
    shrb $4, %al
    call hex
    movb %bl, %al
    call hex
    movw $newline, %si
    call say
    jmp next

write:
    movb $'D', buffer
    movb $0x43, %ah
    call disk
    movw $written, %si
    jnc 1f
    movw $write_error, %si
1:  call say
    jmp next

off:
    movw $0x5307, %ax           # APM: all devices off
    movw $1, %bx
    movw $3, %cx
    int $0x15
    jmp next

reset:
    movb $0x06, %al
    movw $0xcf9, %dx
    outb %al, %dx
1:  hlt
    jmp 1b

halt:
    movw $halting, %si
    call say
    cli
    hlt

    disk_routine disk

hex:
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe send
    addb $('a' - '9' - 1), %al
    serial_routines

    .balign 4
packet:
    .byte 16, 0
    .word 1, buffer, 0
    .quad 1
drive:       .byte 0
screen_text: .asciz "session guest"
pristine:    .asciz "pristine\r\n"
dirty:       .asciz "dirty\r\n"
written:     .asciz "written\r\n"
write_error: .asciz "write error\r\n"
halting:     .asciz "halting\r\n"
key:         .asciz "key "
newline:     .asciz "\r\n"
    end_boot_sector
buffer:
    .ascii "P"
    .org 1 << 20                # the rest of a 1 MiB disk
