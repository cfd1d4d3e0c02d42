# A guest without a sound device that plays 1000 Hz on the PC's speaker for a second, says "played" on COM1 and halts.
    .set TICKS, 0x46c
    .set SECOND, 19             # the BIOS counts 18.2 timer interrupts a second
    .set COUNT, 1193            # of 1,193,182 Hz
    .include "boot_sector.inc"
    begin_boot_sector
    movb $0xb6, %al             # channel 2: both bytes, mode 3
    outb %al, $0x43
    movb $(COUNT & 0xff), %al
    outb %al, $0x42
    movb $(COUNT >> 8), %al
    outb %al, $0x42
    inb $0x61, %al
    orb $3, %al
    outb %al, $0x61
    movl TICKS, %ebx
1:  hlt
    movl TICKS, %eax
    subl %ebx, %eax
    cmpl $SECOND, %eax
    jb 1b
    inb $0x61, %al
    andb $0xfc, %al
    outb %al, $0x61
    movw $played, %si
    call say
2:  hlt
    jmp 2b
    serial_routines
drive:  .byte 0
played: .asciz "played\r\n"
    end_boot_sector
    .org 1 << 20                # the rest of a 1 MiB disk
