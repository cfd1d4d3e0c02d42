/* /init of a guest that plays through Linux' own AC'97 driver: loads it, opens the mixer, plays kSeconds of a
 * sine at the rate and frequency of the kernel's command line ("tone=RATE,HZ"), says how long that took, and
 * turns the machine off. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sound/asound.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kSeconds = 3, kPeriod = 1024, kAmplitude = 12000 };

static void say(const char* format, ...) {
    char line[200];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(1, line, (size_t)length) < 0)
        _exit(1);
}

static void power_off(void) {
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

static void need(int result, const char* what) {
    if (result >= 0)
        return;
    say("TONE FAILED %s: %s\n", what, strerror(errno));
    power_off();
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A mixer element, both channels. */
static void turn(int control, const char* name, long value) {
    struct snd_ctl_elem_value element;
    memset(&element, 0, sizeof element);
    element.id.iface = SNDRV_CTL_ELEM_IFACE_MIXER;
    strcpy((char*)element.id.name, name);
    element.value.integer.value[0] = element.value.integer.value[1] = value;
    need(ioctl(control, SNDRV_CTL_IOCTL_ELEM_WRITE, &element), name);
}

static void any(struct snd_pcm_hw_params* params) {
    memset(params, 0, sizeof *params);
    for (int i = 0; i <= SNDRV_PCM_HW_PARAM_LAST_MASK - SNDRV_PCM_HW_PARAM_FIRST_MASK; ++i)
        memset(params->masks[i].bits, 0xFF, sizeof params->masks[i].bits);
    for (int i = 0; i <= SNDRV_PCM_HW_PARAM_LAST_INTERVAL - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL; ++i)
        params->intervals[i].max = ~0u;
    params->rmask = ~0u;
}
static void mask(struct snd_pcm_hw_params* params, int which, unsigned value) {
    struct snd_mask* m = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];
    memset(m, 0, sizeof *m);
    m->bits[value / 32] = 1u << value % 32;
}
static void number(struct snd_pcm_hw_params* params, int which, unsigned value) {
    struct snd_interval* i = &params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
    memset(i, 0, sizeof *i);
    i->min = i->max = value;
    i->integer = 1;
}

int main(void) {
    static const char* const kModules[] = {
        "soundcore", "snd", "snd-timer", "snd-pcm", "ac97_bus", "snd-ac97-codec", "snd-intel8x0"};
    unsigned rate = 48000, hertz = 1000;
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    FILE* cmdline = fopen("/proc/cmdline", "r");
    char line[1000] = "";
    if (cmdline != NULL && fgets(line, sizeof line, cmdline) != NULL && strstr(line, "tone=") != NULL)
        sscanf(strstr(line, "tone="), "tone=%u,%u", &rate, &hertz);
    for (size_t i = 0; i < sizeof kModules / sizeof *kModules; ++i) {
        char path[64];
        snprintf(path, sizeof path, "/modules/%s.ko", kModules[i]);
        const int module = open(path, O_RDONLY);
        need(module, path);
        need((int)syscall(SYS_finit_module, module, "", 0), path);
    }
    const int control = open("/dev/snd/controlC0", O_RDWR);
    need(control, "controlC0");
    turn(control, "Master Playback Switch", 1);
    turn(control, "Master Playback Volume", 31);
    turn(control, "PCM Playback Switch", 1);
    turn(control, "PCM Playback Volume", 23); /* 0 dB */
    const int pcm = open("/dev/snd/pcmC0D0p", O_RDWR);
    need(pcm, "pcmC0D0p");
    struct snd_pcm_hw_params params;
    any(&params);
    mask(&params, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
    mask(&params, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
    mask(&params, SNDRV_PCM_HW_PARAM_SUBFORMAT, SNDRV_PCM_SUBFORMAT_STD);
    number(&params, SNDRV_PCM_HW_PARAM_CHANNELS, 2);
    number(&params, SNDRV_PCM_HW_PARAM_RATE, rate);
    number(&params, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, kPeriod);
    number(&params, SNDRV_PCM_HW_PARAM_PERIODS, 4);
    need(ioctl(pcm, SNDRV_PCM_IOCTL_HW_PARAMS, &params), "HW_PARAMS");
    need(ioctl(pcm, SNDRV_PCM_IOCTL_PREPARE), "PREPARE");
    say("TONE STARTS\n");
    const double start = now();
    const double step = 2 * 3.14159265358979323846 * hertz / rate;
    unsigned underruns = 0;
    static short buffer[2 * kPeriod];
    for (unsigned long frame = 0; frame < (unsigned long)rate * kSeconds; frame += kPeriod) {
        for (unsigned i = 0; i < kPeriod; ++i)
            buffer[2 * i] = buffer[2 * i + 1] = (short)(kAmplitude * sin(step * (double)(frame + i)));
        struct snd_xferi transfer = {.buf = buffer, .frames = kPeriod};
        if (ioctl(pcm, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &transfer) == 0)
            continue;
        if (errno != EPIPE)
            need(-1, "WRITEI_FRAMES");
        ++underruns;
        need(ioctl(pcm, SNDRV_PCM_IOCTL_PREPARE), "PREPARE");
    }
    need(ioctl(pcm, SNDRV_PCM_IOCTL_DRAIN), "DRAIN");
    say("TONE DONE in %d ms, %u underruns\n", (int)((now() - start) * 1000), underruns);
    power_off();
    return 1;
}
