/* Process 1 of the guest that tests/bench/ageing runs: the benchmark's rows, then what an hour of use does to
 * a machine, then the rows again.
 *
 * Arguments: scene (wait for a line on the console before the last rows), execs=N (processes, each from a
 * file of its own), cache=MIB (through the page cache), code=N (functions written, run and written over),
 * reps= and only= for the rows, fresh (the rows once, and no more).
 *
 * Output: "PHASE fresh", "PHASE aged" or "PHASE reopened" before the rows (see ../guest/main.c), "AGED ..."
 * with what was done.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char* what) {
    printf("FAILED %s\n", what);
    reboot(RB_POWER_OFF);
}

static int run(char* const* arguments) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void rows(const char* phase, char* reps, char* only) {
    char* const arguments[] = {"/benchmark", reps, only, 0};
    printf("PHASE %s\n", phase);
    if (run(arguments) != 0)
        fail("the benchmark");
}

/* Programs that nobody has seen before: the same one with another seed in the middle of its code. */
static void processes(int count) {
    const uint32_t kSeed = 0xA6E1A6E1;
    static char image[1 << 17];
    const int file = open("/leaf", O_RDONLY);
    const ssize_t size = read(file, image, sizeof image);
    close(file);
    char* seed = 0;
    for (ssize_t i = 0; i + 4 <= size && !seed; i++)
        if (memcmp(image + i, &kSeed, 4) == 0)
            seed = image + i;
    if (!seed)
        fail("the program has no seed");
    for (int i = 0; i < count; i++) {
        char name[32];
        char* const arguments[] = {name, 0};
        snprintf(name, sizeof name, "/tmp/%d", i % 16); /* a few stay around, as in use */
        unlink(name);
        const int copy = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0755);
        memcpy(seed, &i, 4);
        if (write(copy, image, (size_t)size) != size)
            fail("cannot write a program");
        close(copy);
        if (run(arguments) != (i & 63))
            fail("a program answered wrongly");
    }
}

static void page_cache(int mebibytes) {
    enum { kFile = 64, kPiece = 1 << 16 };
    static char piece[kPiece];
    for (int done = 0; done < mebibytes; done += 2 * kFile) {
        const int file = open("/tmp/large", O_CREAT | O_RDWR | O_TRUNC, 0600);
        memset(piece, done, sizeof piece);
        for (int i = 0; i < kFile << 20; i += kPiece)
            if (write(file, piece, kPiece) != kPiece)
                fail("cannot write a large file");
        lseek(file, 0, SEEK_SET);
        for (int i = 0; i < kFile << 20; i += kPiece)
            if (read(file, piece, kPiece) != kPiece)
                fail("cannot read a large file");
        close(file);
        unlink("/tmp/large");
    }
}

/* As a just-in-time compiler does it: functions are written into memory that others run from, run for a
 * while, and written over; now and then all of it goes back to the system. */
static void code(int count) {
    enum { kBytes = 1 << 20, kFunction = 64, kRuns = 20 };
    uint8_t* memory = 0;
    uint32_t expected = 0, sum = 0;
    for (int i = 0; i < count; i++) {
        if (i % 20000 == 0) {
            if (memory)
                munmap(memory, kBytes);
            memory = mmap(0, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED)
                fail("no memory for code");
        }
        uint8_t* at = memory + (uint32_t)i * 2654435761u % (kBytes / kFunction) * kFunction;
        const uint32_t constant = (uint32_t)i * 40503u;
        const uint8_t text[] = {0x8B, 0x44, 0x24, 0x04, 0x05}; /* mov eax, [esp+4]; add eax, constant; ret */
        memcpy(at, text, sizeof text);
        memcpy(at + sizeof text, &constant, 4);
        at[sizeof text + 4] = 0xC3;
        uint32_t (*volatile function)(uint32_t) = (uint32_t(*)(uint32_t))(uintptr_t)at;
        for (uint32_t run = 0; run < kRuns; run++) {
            sum += function(run);
            expected += run + constant;
        }
    }
    if (sum != expected)
        fail("written code answered wrongly");
}

static int modules(int times) {
    int loaded = 0;
    for (int i = 0; i < times; i++) {
        DIR* directory = opendir("/modules");
        for (struct dirent* entry; directory && (entry = readdir(directory));) {
            char path[300], name[260];
            snprintf(path, sizeof path, "/modules/%s", entry->d_name);
            const int file = open(path, O_RDONLY);
            if (file >= 0 && strstr(path, ".ko") && syscall(SYS_finit_module, file, "", 0) == 0) {
                snprintf(name, sizeof name, "%s", entry->d_name);
                *strstr(name, ".ko") = 0;
                for (char* c = name; *c; c++)
                    if (*c == '-')
                        *c = '_';
                loaded++;
                syscall(SYS_delete_module, name, O_NONBLOCK);
            }
            close(file);
        }
        if (directory)
            closedir(directory);
    }
    return loaded;
}

static int number(const char* argument, const char* key, int otherwise) {
    const size_t length = strlen(key);
    return strncmp(argument, key, length) == 0 ? atoi(argument + length) : otherwise;
}

int main(int argc, char** argv) {
    int execs = 0, cache = 0, functions = 0, fresh_only = 0, scene = 0;
    char *reps = "reps=3", *only = "only=integer";
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 1; i < argc; i++) {
        execs = number(argv[i], "execs=", execs);
        cache = number(argv[i], "cache=", cache);
        functions = number(argv[i], "code=", functions);
        if (strncmp(argv[i], "reps=", 5) == 0)
            reps = argv[i];
        if (strncmp(argv[i], "only=", 5) == 0)
            only = argv[i];
        fresh_only |= strcmp(argv[i], "fresh") == 0;
        scene |= strcmp(argv[i], "scene") == 0;
    }
    mkdir("/tmp", 0700);
    rows("fresh", reps, only);
    if (!fresh_only) {
        processes(execs);
        page_cache(cache);
        code(functions);
        const int loaded = modules(20);
        printf("AGED %d processes, %d MiB, %d functions, %d modules\n", execs, cache, functions, loaded);
        rows("aged", reps, only);
        if (scene) {
            char byte;
            printf("SCENE\n");
            if (read(0, &byte, 1) != 1)
                fail("nothing to read");
            rows("reopened", reps, only);
        }
    }
    printf("DONE\n");
    reboot(RB_POWER_OFF);
    return 0;
}
