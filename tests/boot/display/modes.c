/* /init of a guest that loads Linux' bochs-drm and says which mode it prefers and which its console has. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static void power_off(void) {
    fflush(stdout);
    reboot(RB_POWER_OFF);
    _exit(1);
}

/* The first line of a file of sysfs. */
static void show(const char* what, const char* path) {
    char line[200] = "";
    FILE* file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        strcpy(line, "nothing\n");
    printf("MODES %s %s", what, line);
    if (file != NULL)
        fclose(file);
}

int main(void) {
    static const char* const kModules[] = {
        "drm", "drm_kms_helper", "ttm", "drm_ttm_helper", "drm_vram_helper", "bochs"};
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    sleep(2); /* the host's window has its size by now */
    for (size_t i = 0; i < sizeof kModules / sizeof *kModules; ++i) {
        char path[64];
        snprintf(path, sizeof path, "/modules/%s.ko", kModules[i]);
        const int module = open(path, O_RDONLY);
        if (module < 0 || syscall(SYS_finit_module, module, "", 0) != 0) {
            printf("MODES FAILED %s\n", path);
            power_off();
        }
    }
    show("preferred", "/sys/class/drm/card0-Virtual-1/modes");
    show("console", "/sys/class/graphics/fb0/virtual_size");
    printf("MODES DONE\n");
    power_off();
    return 1;
}
