# A guest to be killed: one boot sector that reads a sector of every 64 KiB of its disk, says "pristine" on COM1 if each
# begins with 'P' and "dirty" if not, then writes 'D' to all of them, again and again, with a dot for each time round.
    .set SECTORS, 8 << 11       # the disk's 8 MiB
    .set STEP, 128              # one sector in each of the overlay's chunks
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movb %dl, drive
1:  movb $0x42, %ah
    call disk
    movw $dirty, %si
    cmpb $'P', buffer
    jne 2f
    call advance
    jnz 1b
    movw $pristine, %si
2:  call say
write:
    movl $1, sector
    movb $'D', buffer
1:  movb $0x43, %ah
    call disk
    jc failed
    call advance
    jnz 1b
    movw $dot, %si
    call say
    jmp write
failed:
    movw $write_error, %si
    call say
3:  hlt
    jmp 3b

disk:                           # AH = 42h read, 43h write: one sector, through extended int 13h
    xorb %al, %al
    movb drive, %dl
    movw $packet, %si
    int $0x13
    ret

advance:                        # ZF: that was the last
    addl $STEP, sector
    cmpl $SECTORS + 1, sector
    ret

say:                            # to COM1
    lodsb
    testb %al, %al
    jz 2f
    movw $0x3fd, %dx
    movb %al, %bl
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    movb %bl, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp say
2:  ret

    .balign 4
packet:
    .byte 16, 0
    .word 1, buffer, 0
sector:
    .quad 1
drive:       .byte 0
pristine:    .asciz "pristine\r\n"
dirty:       .asciz "dirty\r\n"
write_error: .asciz "write error\r\n"
dot:         .asciz "."
    .org 510
    .byte 0x55, 0xaa
    .set buffer, 0x7e00
