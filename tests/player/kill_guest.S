# A guest to be killed: one boot sector that reads a sector of every 64 KiB of its disk, says "pristine" on COM1 if each
# begins with 'P' and "dirty" if not, then writes 'D' to all of them, again and again, with a dot for each time round.
    .set SECTORS, 8 << 11       # the disk's 8 MiB
    .set STEP, 128              # one sector in each of the overlay's chunks
    .include "boot_sector.inc"
    begin_boot_sector
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

    disk_routine disk

advance:                        # ZF: that was the last
    addl $STEP, sector
    cmpl $SECTORS + 1, sector
    ret

    serial_routines

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
    end_boot_sector
    .set buffer, 0x7e00
