// What a file manager starts in a portable folder: a program, because several of them open scripts in an
// editor. All it does is to run player/start.sh beside it.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
    char path[PATH_MAX];
    const char script[] = "/player/start.sh";
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof script);
    char* end = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    char** arguments = calloc((size_t)argc + 2, sizeof *arguments);
    if (end == NULL || arguments == NULL)
        return 1;
    memcpy(end, script, sizeof script);
    arguments[0] = "sh";
    arguments[1] = path;
    for (int i = 1; i < argc; i++)
        arguments[i + 1] = argv[i];
    execv("/bin/sh", arguments);
    perror("start-encore: /bin/sh");
    return 1;
}
