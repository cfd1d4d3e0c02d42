# A guest with an absolute pointer (VMware's, port 5658h), which draws what it is told: white-on-blue text of 80x25
# cells; the cell below the pointer becomes red while the left button is down and green when it goes up, yellow for the
# right button; row 0 has one grey cell for each time that the left button went down. On COM1: "pointer on", then
# "down CC RR" and "up CC RR" in hex with column and row.
    .set PORT, 0x5658
    .set MAGIC, 0x564d5868
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $0xb800, %ax
    movw %ax, %es
    movw $0x0003, %ax           # int 10h: 80x25 text
    int $0x10
    movw $0x0100, %ax           # without a cursor
    movw $0x2000, %cx
    int $0x10
    xorw %di, %di               # clear to white on blue
    movw $0x1f20, %ax
    movw $2000, %cx
    cld
    rep stosw
    movl $0x45414552, %ebx      # enable; the answer is one word, the version
    call command
    movl $1, %ebx
    call data
    movl $0x53424152, %ebx      # positions, not movement
    call command
    movw $on, %si
    call say
next:
    movl $40, %ecx              # status: how many words wait
    call backdoor
    cmpw $4, %ax
    jb 1f
    movl $4, %ebx
    call data                   # EAX = buttons, EBX = x, ECX = y, 0 to FFFFh
    imull $80, %ebx
    shrl $16, %ebx
    imull $25, %ecx
    shrl $16, %ecx
    movb %bl, column
    movb %cl, row
    movb %al, %dl
    imulw $80, %cx, %di
    addw %bx, %di
    shlw $1, %di
    call draw
    jmp next
1:  hlt
    jmp next

draw:                           # DL = buttons, DI = the cell
    movb buttons, %dh
    movb %dl, buttons
    movb $0x60, %al             # brown, which is the text mode's yellow
    testb $0x10, %dl
    jnz paint
    movw $down, %si
    testb $0x20, %dl
    jz 1f
    movb $0x40, %al
    testb $0x20, %dh
    jnz paint                   # it was down already
    movw count, %bx
    shlw $1, %bx
    movb $0x70, %es:1(%bx)
    incw count
    jmp tell
1:  testb $0x20, %dh
    jz 2f
    movb $0x20, %al
    movw $up, %si
tell:
    movb %al, %es:1(%di)
    call say
    movb column, %al
    call hex8
    movb $' ', %al
    call send
    movb row, %al
    call hex8
    movw $line, %si
    jmp say
paint:
    movb %al, %es:1(%di)
2:  ret

command:
    movl $41, %ecx
    jmp backdoor
data:
    movl $39, %ecx
backdoor:
    movl $MAGIC, %eax
    movw $PORT, %dx
    inl %dx, %eax
    ret

hex8:
    movb %al, %ah
    shrb $4, %al
    call hex
    movb %ah, %al
hex:
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe send
    addb $('a' - '9' - 1), %al
send:                           # AL to COM1
    pushw %ax
    movw $0x3fd, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    popw %ax
    movw $0x3f8, %dx
    outb %al, %dx
    ret
say:
    lodsb
    testb %al, %al
    jz 1f
    call send
    jmp say
1:  ret

count:   .word 0
buttons: .byte 0
column:  .byte 0
row:     .byte 0
on:      .asciz "pointer on\r\n"
down:    .asciz "down "
up:      .asciz "up "
line:    .asciz "\r\n"
    .org 510
    .byte 0x55, 0xaa
    .org 1 << 20                # the rest of a 1 MiB disk
