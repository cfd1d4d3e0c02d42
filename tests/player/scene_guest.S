# A guest that tells what a machine opened at a scene is like. It says "ready" on COM1, then obeys keys:
#   c  "clock CCYYMMDD HHMMSS", from the clock chip through the BIOS
#   n  "mono TSC PM TICKS" in hex: time-stamp counter, ACPI timer, the BIOS's count of timer interrupts
#   t  "rate N" in hex: time-stamp counts in four timer interrupts (about 220 ms)
#   m  turns the mouse on: "mouse on", then "mouse BB XX YY" for each packet
#   d  "disk pristine" or "disk dirty" as its sector begins with 'P' or 'D'; writes 'D' there: "disk written"
#   g  "generation ID gpe S" in hex: the VM Generation ID and the general-purpose event status
#   others: "key N" with the scan code in hex
# The screen is white on green.
    .set GPE0, 0x60c
    .set PM_TIMER, 0x608
    .set TICKS, 0x46c
    .include "boot_sector.inc"
    begin_boot_sector
    movw $load_packet, %si
    movb $0x42, %ah
    int $0x13
    jmp main

    .balign 4
load_packet:
    .byte 16, 0
    .word 3, 0x7e00, 0
    .quad 1
drive: .byte 0
    end_boot_sector

main:
    movw $0x0003, %ax           # int 10h: 80x25 text
    int $0x10
    movw $0x0600, %ax           # clear to white on green
    movb $0x2f, %bh
    xorw %cx, %cx
    movw $0x184f, %dx
    int $0x10
    movw $ready, %si
    call say
next:
    xorb %ah, %ah
    int $0x16
    movw $commands, %di
1:  cmpb $0, (%di)
    je other
    cmpb %al, (%di)
    je 2f
    addw $3, %di
    jmp 1b
2:  call *1(%di)
    jmp next
other:
    movb %ah, %bl
    movw $key, %si
    call say
    movb %bl, %al
    call hex8
    call line
    jmp next

clock:
    movw $clock_text, %si
    call say
1:  movb $4, %ah
    int $0x1a
    jc 1b
    call hex_cx_dx
    movb $' ', %al
    call send
1:  movb $2, %ah
    int $0x1a
    jc 1b
    movw %cx, %ax
    call hex16
    movb %dh, %al
    call hex8
    jmp line

mono:
    movw $mono_text, %si
    call say
    cli
    rdtsc
    movl %eax, %ebx
    movl %edx, %ecx
    movw $PM_TIMER, %dx
    inl %dx, %eax
    movl %eax, %ebp
    movl TICKS, %edi
    sti
    movl %ecx, %eax
    call hex32
    movl %ebx, %eax
    call hex32
    call space
    movl %ebp, %eax
    call hex32
    call space
    movl %edi, %eax
    call hex32
    jmp line

rate:
    movw $rate_text, %si
    call say
    call tick
    rdtsc
    movl %eax, %ebp
    movw $4, %cx
1:  call tick
    loop 1b
    rdtsc
    subl %ebp, %eax
    call hex32
    jmp line
tick:                           # until the next timer interrupt has been counted
    movl TICKS, %ebx
1:  hlt
    cmpl %ebx, TICKS
    je 1b
    ret

mouse:
    movw $0xc205, %ax           # int 15h: initialise, packets of 3
    movb $3, %bh
    int $0x15
    movw $0xc207, %ax
    movw $packet_came, %bx
    int $0x15
    movw $0xc200, %ax
    movb $1, %bh
    int $0x15
    movw $mouse_on, %si
    jmp say
packet_came:                    # far call; on the stack: z, y, x, status
    pushaw
    movw %sp, %bp
    movw $mouse_text, %si
    call say
    movb 26(%bp), %al
    call hex8
    call space
    movb 24(%bp), %al
    call hex8
    call space
    movb 22(%bp), %al
    call hex8
    call line
    popaw
    lretw

disk:
    movb $0x42, %ah
    call sector
    movw $pristine, %si
    cmpb $'P', buffer
    je 1f
    movw $dirty, %si
1:  call say
    movb $'D', buffer
    movb $0x43, %ah
    call sector
    jc 2f
    movb $0, buffer
    movb $0x42, %ah
    call sector
    cmpb $'D', buffer
    jne 2f
    movw $written, %si
    jmp say
2:  movw $disk_error, %si
    jmp say
    disk_routine sector

generation:
    movw $generation_text, %si
    call say
    movb $0x87, %ah             # int 15h: copy from anywhere
    movw $8, %cx
    movw $gdt, %si
    int $0x15
    movw $found, %bx
1:  movb (%bx), %al
    call hex8
    incw %bx
    cmpw $found + 16, %bx
    jne 1b
    movw $gpe_text, %si
    call say
    movw $GPE0, %dx
    inw %dx, %ax
    call hex16
    jmp line

hex_cx_dx:
    movw %cx, %ax
    call hex16
    movw %dx, %ax
    jmp hex16
hex32:
    pushl %eax
    shrl $16, %eax
    call hex16
    popl %eax
hex16:
    pushw %ax
    movb %ah, %al
    call hex8
    popw %ax
hex8:
    pushw %ax
    shrb $4, %al
    call digit
    popw %ax
digit:
    pushw %ax
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 1f
    addb $('a' - '9' - 1), %al
1:  call send
    popw %ax
    ret
space:
    movb $' ', %al
    jmp send
line:
    movw $newline, %si
    jmp say
    serial_routines

commands:
    .byte 'c'
    .word clock
    .byte 'n'
    .word mono
    .byte 't'
    .word rate
    .byte 'm'
    .word mouse
    .byte 'd'
    .word disk
    .byte 'g'
    .word generation
    .byte 0
    .balign 8
packet:
    .byte 16, 0
    .word 1, buffer, 0
    .quad 64
gdt:                            # int 15h AH=87h: source and destination at 10h and 18h
    .quad 0, 0
    .word 0xffff, 0x0000
    .byte 0xf0, 0x93, 0, 0xfe   # FEF00000h
    .word 0xffff, found
    .byte 0, 0x93, 0, 0
    .quad 0, 0
found: .skip 16
ready:           .asciz "ready\r\n"
key:             .asciz "key "
clock_text:      .asciz "clock "
mono_text:       .asciz "mono "
rate_text:       .asciz "rate "
mouse_on:        .asciz "mouse on\r\n"
mouse_text:      .asciz "mouse "
pristine:        .asciz "disk pristine\r\n"
dirty:           .asciz "disk dirty\r\n"
written:         .asciz "disk written\r\n"
disk_error:      .asciz "disk error\r\n"
generation_text: .asciz "generation "
gpe_text:        .asciz " gpe "
newline:         .asciz "\r\n"
    .org 0x800                  # what the boot sector loads ends here
buffer:
    .org 64 * 512
    .ascii "P"
    .org 1 << 20                # the rest of a 1 MiB disk
