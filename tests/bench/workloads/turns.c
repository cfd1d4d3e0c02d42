// Runs programs and prints a line for each: its wall time, its processor time, a hash of what it printed, its
// status, and where the processor time went. As the guest's first process it mounts what programs expect, and
// turns the machine off at the end.
//
//   turns REPETITIONS [NAME,NAME...]      from a list "name command" a line, in programs.list beside it
// As init both come in the environment: reps=, only=.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static int chosen(const char* only, const char* name) {
    const size_t length = strlen(name);
    for (const char* at = only; at != NULL && *at != 0; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0))
            return 1;
    return only == NULL || *only == 0;
}

static void turn(const char* name, const char* command) {
    int out[2];
    if (pipe(out) != 0)
        return;
    const double begin = now();
    const pid_t child = fork();
    if (child == 0) {
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execl("/bin/sh", "sh", "-c", command, (char*)NULL);
        _exit(127);
    }
    close(out[1]);
    uint32_t hash = 2166136261u; // FNV-1a
    unsigned char buffer[4096];
    for (ssize_t count; (count = read(out[0], buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < count; ++i)
            hash = (hash ^ buffer[i]) * 16777619u;
    close(out[0]);
    int status = 0;
    struct rusage used;
    wait4(child, &status, 0, &used);
    printf("PROGRAM %s %.4f %.4f %08x %d user %.3f system %.3f faults %ld\n", name, now() - begin,
           seconds(used.ru_utime) + seconds(used.ru_stime), hash, status, seconds(used.ru_utime),
           seconds(used.ru_stime), used.ru_minflt);
}

int main(int argc, char** argv) {
    const int init = getpid() == 1;
    const char* reps = init ? getenv("reps") : argc > 1 ? argv[1] : NULL;
    const char* only = init ? getenv("only") : argc > 2 ? argv[2] : NULL;
    if (init) {
        mount("proc", "/proc", "proc", 0, NULL);
        mount("sysfs", "/sys", "sysfs", 0, NULL);
        mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
        mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    }
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("HOME", "/tmp", 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("PROGRAMS START\n");
    FILE* list = fopen("/bench/programs.list", "r");
    char line[1024];
    while (list != NULL && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char* command = strchr(line, ' ');
        if (command == NULL)
            continue;
        *command++ = 0;
        for (int i = reps != NULL ? atoi(reps) : 1; i > 0 && chosen(only, line); --i)
            turn(line, command);
    }
    printf("PROGRAMS END\n");
    if (init) {
        sync();
        reboot(RB_POWER_OFF);
    }
    return 0;
}
