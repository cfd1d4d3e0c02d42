# A disk that says which one it is: a boot sector that writes "BOOTED", the name it is assembled with, and "DISK" on the
# screen and on COM1.
    .include "boot_sector.inc"
    begin_boot_sector
    movw $text, %si
    call say
    movw $text, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0e, %ah             # int 10h: teletype
    xorw %bx, %bx
    int $0x10
    jmp 1b
2:  hlt
    jmp 2b
    serial_routines
drive:  .byte 0
text:   .ascii "BOOTED "
    .ascii NAME
    .asciz " DISK\r\n"
    end_boot_sector
