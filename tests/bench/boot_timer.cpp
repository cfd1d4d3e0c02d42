// Boots one guest straight on vmm::Machine (no bundle, no window) and carries out a script of steps: wait for
// text on the serial line or the VGA text screen, type, sleep while measuring, wait for power-off. Serial
// output goes to standard output as it arrives, everything else to standard error, so that a driver can time
// both by watching. Exit status: 0 every step held, 1 one did not (with the last output and the engine's
// counters), 2 bad usage, 3 the machine could not be made.
#include "tests/bench/process_memory.h"
#include "vmm/devices/file_block_port.h"
#include "vmm/machine.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <numeric>
#include <regex>
#include <thread>
#include <unordered_map>

namespace {

using Clock = std::chrono::steady_clock;

const Clock::time_point kStart = Clock::now();
double elapsed() { return std::chrono::duration<double>(Clock::now() - kStart).count(); }

constexpr const char* kUsage = R"(boot_timer: boots a guest and reports when it said what

  --memory MIB          RAM (256)
  --kernel FILE  --initrd FILE  --append TEXT
  --hda FILE  --cdrom FILE  --fda FILE     media, all opened read-only unless --writable precedes them
  --boot disk|cdrom|floppy                 what to boot first (the first medium given)
  --block-mode single|unlinked|linked      how translated blocks are made (linked)
  --verify              containment verifier on every block
  --timeout SECONDS     bound on the whole run (120)

Steps, carried out in the order given:
  --expect REGEX        wait for it on the serial line, in what arrived since the last match
  --expect-screen REGEX wait for it on the VGA text screen
  --expect-graphics WxH wait for a picture of that size with more than one colour
  --send TEXT           to the serial line (\n, \r and \e are understood)
  --type TEXT           on the keyboard (letters, digits, space, minus, slash, dot and \n)
  --measure SECONDS     let it run that long; report processor use and memory
  --reopen REVERTS      go on in another machine, opened at this moment, that was put back to it so often
  --expect-power-off    wait for the guest to turn itself off

  --screenshot FILE     write the last picture as PPM
  --statistics          print the engine's counters at the end
)";

// The serial line's far end. Bytes arrive on the vCPU thread; the main thread collects them.
class Serial final : public vmm::CharPort {
  public:
    void send(uint8_t byte) override {
        const std::lock_guard lock(mutex_);
        arrived_.push_back(static_cast<char>(byte));
    }
    std::string take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(arrived_, {});
    }

  private:
    std::mutex mutex_;
    std::string arrived_;
};

// RAM of another machine, as it was.
class CopiedMemory final : public vmm::PageSource {
  public:
    explicit CopiedMemory(vmm::GuestMemory& memory) {
        const auto pages = static_cast<uint32_t>(memory.ram_bytes() >> vmm::kPageShift);
        for (const vmm::GuestMemory::Run& run : memory.resident(0, pages))
            for (uint32_t page = run.first; page < run.first + run.count; ++page) {
                const uint8_t* bytes = memory.data() + (uint64_t{page} << vmm::kPageShift);
                pages_.emplace(page, std::vector<uint8_t>(bytes, bytes + vmm::kPageSize));
            }
    }
    base::Result<void> read(uint32_t page, std::span<uint8_t> to) override {
        const auto found = pages_.find(page);
        if (found == pages_.end())
            std::ranges::fill(to, uint8_t{0});
        else
            std::ranges::copy(found->second, to.begin());
        return {};
    }

  private:
    std::unordered_map<uint32_t, std::vector<uint8_t>> pages_;
};

enum class StepKind { Serial, Screen, Graphics, Send, Type, Measure, Reopen, PowerOff };
struct Step {
    StepKind kind;
    std::string text;
};

struct Options {
    vmm::MachineConfig machine;
    std::vector<Step> steps;
    double timeout = 120;
    std::string screenshot;
    bool statistics = false;
};

[[noreturn]] void give_up(int code, const std::string& why) {
    std::fprintf(stderr, "boot_timer: %s\n", why.c_str());
    std::exit(code);
}

std::vector<uint8_t> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        give_up(2, "cannot read " + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string unescape(const std::string& text) {
    std::string result;
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            result += text[i];
            continue;
        }
        const char c = text[++i];
        result += c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'e' ? '\x1b' : c;
    }
    return result;
}

Options parse(int argc, char** argv) {
    Options options;
    auto& platform = options.machine.platform;
    auto kernel = std::make_shared<vmm::KernelBoot>();
    std::string kernel_path, initrd_path;
    auto access = vmm::FileAccess::ReadOnly;
    for (int i = 1; i < argc; i++) {
        const std::string option = argv[i];
        const auto value = [&]() -> std::string {
            if (i + 1 >= argc)
                give_up(2, option + " needs a value\n" + kUsage);
            return argv[++i];
        };
        const auto medium = [&](vmm::MediumKind kind, vmm::BootDevice boot) {
            auto port = vmm::FileBlockPort::open(value(), access);
            if (!port)
                give_up(2, port.error().message);
            if (platform.media.empty())
                platform.boot_order = {boot};
            platform.media.push_back({kind, std::move(*port)});
        };
        const auto step = [&](StepKind kind) { options.steps.push_back({kind, value()}); };
        if (option == "--memory")
            platform.ram_bytes = std::strtoull(value().c_str(), nullptr, 10) << 20;
        else if (option == "--kernel")
            kernel_path = value();
        else if (option == "--initrd")
            initrd_path = value();
        else if (option == "--append")
            kernel->command_line = value();
        else if (option == "--writable")
            access = vmm::FileAccess::ReadWrite;
        else if (option == "--hda")
            medium(vmm::MediumKind::Disk, vmm::BootDevice::Disk);
        else if (option == "--cdrom")
            medium(vmm::MediumKind::Cdrom, vmm::BootDevice::Cdrom);
        else if (option == "--fda")
            medium(vmm::MediumKind::Floppy, vmm::BootDevice::Floppy);
        else if (option == "--boot") {
            const std::string device = value();
            platform.boot_order = {device == "cdrom"    ? vmm::BootDevice::Cdrom
                                   : device == "floppy" ? vmm::BootDevice::Floppy
                                                        : vmm::BootDevice::Disk};
        } else if (option == "--block-mode") {
            const std::string mode = value();
            if (mode == "single")
                options.machine.block_mode = vmm::BlockMode::SingleInstruction;
            else if (mode == "unlinked")
                options.machine.block_mode = vmm::BlockMode::Unlinked;
            else if (mode != "linked")
                give_up(2, "unknown block mode " + mode);
        } else if (option == "--verify")
            options.machine.verify_containment = true;
        else if (option == "--timeout")
            options.timeout = std::strtod(value().c_str(), nullptr);
        else if (option == "--expect")
            step(StepKind::Serial);
        else if (option == "--expect-screen")
            step(StepKind::Screen);
        else if (option == "--expect-graphics")
            step(StepKind::Graphics);
        else if (option == "--send")
            step(StepKind::Send);
        else if (option == "--type")
            step(StepKind::Type);
        else if (option == "--measure")
            step(StepKind::Measure);
        else if (option == "--reopen")
            step(StepKind::Reopen);
        else if (option == "--expect-power-off")
            options.steps.push_back({StepKind::PowerOff, {}});
        else if (option == "--screenshot")
            options.screenshot = value();
        else if (option == "--statistics")
            options.statistics = true;
        else
            give_up(2, "unknown option " + option + "\n" + kUsage);
    }
    if (!kernel_path.empty()) {
        kernel->load = [kernel_path, initrd_path](vmm::KernelBoot& boot) -> base::Result<void> {
            boot.kernel = read_file(kernel_path);
            if (!initrd_path.empty())
                boot.initrd = read_file(initrd_path);
            return {};
        };
        platform.kernel = kernel;
        platform.boot_order = {vmm::BootDevice::Kernel};
    }
    return options;
}

// Scan code set 1 of a key on the US keyboard, 0 if it is not there unshifted.
uint16_t scan_code(char c) {
    struct Run {
        const char* keys;
        uint16_t first;
    };
    static constexpr Run kRuns[] = {{"\x1b"
                                     "1234567890-=",
                                     0x01},
                                    {"\tqwertyuiop[]\n", 0x0F},
                                    {"asdfghjkl;'`", 0x1E},
                                    {"\\zxcvbnm,./", 0x2B},
                                    {" ", 0x39}};
    for (const Run& run : kRuns)
        for (uint16_t i = 0; run.keys[i] != 0; i++)
            if (run.keys[i] == c)
                return static_cast<uint16_t>(run.first + i);
    return 0;
}

class Script {
  public:
    Script(const Options& options, std::unique_ptr<vmm::Machine>& machine, Serial& serial)
        : options_(options), machine_(machine), serial_(serial) {}

    // Carries out the steps; false names the one that failed.
    bool run() {
        for (const Step& step : options_.steps)
            if (!carry_out(step)) {
                std::fprintf(stderr, "boot_timer: FAILED after %.3f s at \"%s\": %s\n", elapsed(),
                             step.text.c_str(), why_.c_str());
                return false;
            }
        pump();
        return true;
    }

    // Last output, for the report of a failure.
    void print_evidence() {
        const std::string tail = all_.size() > 3000 ? all_.substr(all_.size() - 3000) : all_;
        std::fprintf(stderr, "--- serial line, last %zu bytes\n%s\n--- screen\n%s\n", tail.size(),
                     tail.c_str(), machine_->text_screen().c_str());
    }

  private:
    void pump() {
        const std::string bytes = serial_.take();
        if (bytes.empty())
            return;
        std::fwrite(bytes.data(), 1, bytes.size(), stdout);
        std::fflush(stdout);
        all_ += bytes;
        unread_ += bytes;
    }

    template <typename Condition> bool wait_for(int poll_milliseconds, Condition condition) {
        for (;;) {
            // Asked before looking: what the machine said last must still be seen.
            const bool ended = machine_->exit_reason() != vmm::ExitReason::None;
            pump();
            if (condition())
                return true;
            if (ended) {
                why_ = fmt_exit();
                return false;
            }
            if (elapsed() > options_.timeout) {
                why_ = "timeout";
                return false;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(poll_milliseconds));
        }
    }

    std::string fmt_exit() const {
        static constexpr const char* kNames[] = {"running", "powered off", "stopped", "hung", "host error"};
        return std::string("the machine ended: ") + kNames[static_cast<size_t>(machine_->exit_reason())] +
               " " + machine_->error();
    }

    bool carry_out(const Step& step) {
        switch (step.kind) {
        case StepKind::Serial: {
            const std::regex pattern(step.text);
            return reported(step, wait_for(5, [&] {
                                std::smatch match;
                                if (!std::regex_search(unread_, match, pattern)) {
                                    // Bound the search: patterns are short, the log is not.
                                    if (unread_.size() > kSearchWindow)
                                        unread_.erase(0, unread_.size() - kSearchWindow);
                                    return false;
                                }
                                unread_ = match.suffix();
                                return true;
                            }));
        }
        case StepKind::Screen: {
            const std::regex pattern(step.text);
            return reported(
                step, wait_for(100, [&] { return std::regex_search(machine_->text_screen(), pattern); }));
        }
        case StepKind::Graphics:
            return reported(step, wait_for(200, [&] { return shows_graphics(step.text); }));
        case StepKind::Send:
            machine_->serial_input(unescape(step.text));
            return true;
        case StepKind::Type:
            return type(unescape(step.text));
        case StepKind::Measure:
            return measure(std::strtod(step.text.c_str(), nullptr));
        case StepKind::Reopen:
            return reopen(static_cast<unsigned>(std::strtoul(step.text.c_str(), nullptr, 10)));
        case StepKind::PowerOff:
            return reported(
                step, wait_for(10, [&] { return machine_->exit_reason() == vmm::ExitReason::PowerOff; }));
        }
        return false;
    }

    bool reported(const Step& step, bool held) const {
        if (held)
            std::fprintf(stderr, "boot_timer: %.3f s: %s\n", elapsed(),
                         step.kind == StepKind::PowerOff ? "powered off" : step.text.c_str());
        return held;
    }

    bool shows_graphics(const std::string& size) {
        if (!machine_->text_screen().empty())
            return false;
        const vmm::Picture picture = machine_->picture();
        if (std::to_string(picture.width) + "x" + std::to_string(picture.height) != size)
            return false;
        for (const uint32_t pixel : picture.pixels)
            if (pixel != picture.pixels[0])
                return true;
        return false;
    }

    bool type(const std::string& text) {
        for (const char c : text) {
            const uint16_t code = scan_code(c);
            if (code == 0) {
                why_ = "no key for a character";
                return false;
            }
            machine_->key({code, true});
            std::this_thread::sleep_for(std::chrono::milliseconds(30));
            machine_->key({code, false});
            std::this_thread::sleep_for(std::chrono::milliseconds(30));
        }
        return true;
    }

    bool reopen(unsigned reverts) {
        machine_->pause();
        if (options_.statistics)
            std::fprintf(stderr, "--- statistics until reopened\n%s\n", machine_->statistics().c_str());
        auto state = machine_->save_scene_state();
        const auto video = machine_->video_memory();
        const uint8_t* bytes = machine_->memory().data() + (uint64_t{video.first_page} << vmm::kPageShift);
        vmm::SavedVideo copy;
        copy.pages.resize(video.pages);
        std::iota(copy.pages.begin(), copy.pages.end(), 0);
        copy.bytes.assign(bytes, bytes + (uint64_t{video.pages} << vmm::kPageShift));
        vmm::SavedMachine saved;
        saved.memory = std::make_shared<CopiedMemory>(machine_->memory());
        saved.video = [copy = std::move(copy)]() -> base::Result<vmm::SavedVideo> { return copy; };
        auto other = vmm::Machine::create(options_.machine);
        if (!state || !other) {
            why_ = state ? other.error().message : state.error().message;
            return false;
        }
        saved.state = std::move(*state);
        machine_ = std::move(*other);
        if (auto opened = machine_->open_at(std::move(saved)); !opened) {
            why_ = opened.error().message;
            return false;
        }
        machine_->start();
        constexpr auto kSession = std::chrono::milliseconds(5);
        for (unsigned i = 0; i < reverts; ++i) {
            std::this_thread::sleep_for(kSession);
            machine_->pause();
            if (auto done = machine_->revert(); !done) {
                why_ = done.error().message;
                return false;
            }
            machine_->start();
        }
        std::fprintf(stderr, "boot_timer: %.3f s: reopened, and put back %u times\n", elapsed(), reverts);
        return true;
    }

    bool measure(double seconds) {
        const double processor = bench::processor_seconds(), began = elapsed();
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        const double used = bench::processor_seconds() - processor, lasted = elapsed() - began;
        pump();
        const bench::ProcessMemory memory = bench::measure_memory("encore-guest");
        std::fprintf(
            stderr,
            "boot_timer: measured %.1f s: processor %.2f %%, guest pages %.1f MiB, beyond them %.1f MiB "
            "(page tables %.1f), %llu mappings\n",
            lasted, used / lasted * 100, static_cast<double>(memory.guest_kib) / 1024,
            static_cast<double>(memory.beyond_kib) / 1024, static_cast<double>(memory.page_table_kib) / 1024,
            static_cast<unsigned long long>(memory.mapping_count));
        return true;
    }

    static constexpr size_t kSearchWindow = 8192;
    const Options& options_;
    std::unique_ptr<vmm::Machine>& machine_;
    Serial& serial_;
    std::string all_, unread_, why_;
};

void write_ppm(const vmm::Picture& picture, const std::string& path) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << picture.width << ' ' << picture.height << "\n255\n";
    for (const uint32_t pixel : picture.pixels) {
        const char rgb[] = {static_cast<char>(pixel >> 16), static_cast<char>(pixel >> 8),
                            static_cast<char>(pixel)};
        file.write(rgb, sizeof rgb);
    }
    if (!file.flush())
        give_up(2, "cannot write " + path);
}

} // namespace

int main(int argc, char** argv) {
    Options options = parse(argc, argv);
    auto serial = std::make_shared<Serial>();
    options.machine.platform.serial = serial;
    auto machine = vmm::Machine::create(options.machine);
    if (!machine)
        give_up(3, machine.error().message);
    (*machine)->start();
    Script script(options, *machine, *serial);
    const bool held = script.run();
    if (!held)
        script.print_evidence();
    if (!options.screenshot.empty())
        write_ppm((*machine)->picture(), options.screenshot);
    if (options.statistics || !held)
        std::fprintf(stderr, "--- statistics\n%s\n", (*machine)->statistics().c_str());
    (*machine)->stop();
    (*machine)->wait(-1);
    return held ? 0 : 1;
}
