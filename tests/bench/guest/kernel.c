/* The rows that live in the kernel: entry and exit, address-space switches, copying an address space, faults.
 */
#include "sys.h"

u32 row_syscall_int80(void) {
    u32 same = 0;
    int self = sys0(kSysGetpid);
    for (int i = 0; i < 50000; i++)
        same += sys0(kSysGetpid) == self;
    return same;
}

/* Through the vDSO, which uses SYSENTER (or SYSCALL) if the processor has it; the plain interrupt if there is
 * no vDSO, so that the row always exists. */
u32 row_syscall_vdso(void) {
    u32 same = 0;
    int self = sys0(kSysGetpid);
    if (!vsyscall_entry)
        return row_syscall_int80();
    for (int i = 0; i < 50000; i++) {
        int result;
        __asm__ volatile("call *%1"
                         : "=a"(result)
                         : "r"(vsyscall_entry), "0"(kSysGetpid)
                         : "memory", "ecx", "edx");
        same += result == self;
    }
    return same;
}

/* Two processes hand one byte back and forth through pipes: two switches of address space a turn. On a host
 * with several processors both are held on one, as the guests have one. */
u32 row_context_switch(void) {
    const int kTurns = 10000;
    const u32 first_processor = 1;
    int there[2], back[2];
    u8 byte = 0;
    sys3(kSysSchedSetaffinity, 0, sizeof first_processor, (long)&first_processor);
    if (sys3(kSysPipe, (long)there, 0, 0) != 0 || sys3(kSysPipe, (long)back, 0, 0) != 0)
        fail("pipe");
    int child = sys0(kSysFork);
    if (child < 0)
        fail("fork");
    if (child == 0) {
        for (int i = 0; i < kTurns; i++) {
            if (sys3(kSysRead, there[0], (long)&byte, 1) != 1)
                break;
            byte = (u8)(byte * 5 + 1);
            if (sys3(kSysWrite, back[1], (long)&byte, 1) != 1)
                break;
        }
        sys3(kSysExit, 0, 0, 0);
    }
    u32 sum = 0;
    for (int i = 0; i < kTurns; i++) {
        if (sys3(kSysWrite, there[1], (long)&byte, 1) != 1 || sys3(kSysRead, back[0], (long)&byte, 1) != 1)
            fail("pipe transfer");
        sum = sum * 31 + byte;
    }
    sys5(kSysWait4, child, 0, 0, 0, 0);
    const int kSysClose = 6;
    for (int i = 0; i < 2; i++) {
        sys3(kSysClose, there[i], 0, 0);
        sys3(kSysClose, back[i], 0, 0);
    }
    return sum;
}

u32 row_fork_exit_wait(void) {
    u32 sum = 0;
    for (int i = 0; i < 500; i++) {
        int status = 0;
        int child = sys0(kSysFork);
        if (child < 0)
            fail("fork");
        if (child == 0)
            sys3(kSysExit, i & 63, 0, 0);
        if (sys5(kSysWait4, child, (long)&status, 0, 0, 0) != child)
            fail("wait4");
        sum = sum * 31 + (u32)status;
    }
    return sum;
}

/* Fresh zero pages: a page fault for each, and their release. */
u32 row_page_touch(void) {
    const u32 kPages = 2048, kPageSize = 4096;
    u32 sum = 0;
    for (int pass = 0; pass < 20; pass++) {
        volatile u8* memory = map_memory(kPages * kPageSize);
        for (u32 i = 0; i < kPages; i++) {
            sum += memory[i * kPageSize + 1]; /* zero, or the kernel leaked */
            memory[i * kPageSize] = (u8)i;
        }
        for (u32 i = 0; i < kPages; i++)
            sum = sum * 31 + memory[i * kPageSize];
        unmap_memory((void*)memory, kPages * kPageSize);
    }
    return sum;
}
