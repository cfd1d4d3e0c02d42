// Where firmware talks to developers: POST codes at port 80h and SeaBIOS's debug console at 402h (its
// config option DEBUG_IO), whose lines end up in Platform::debug_console.
#include "vmm/base/log.h"
#include "vmm/devices/device_list.h"

#include <string>

namespace vmm {
namespace {

constexpr uint16_t kPostPort = 0x80, kConsolePort = 0x402;
constexpr uint8_t kConsolePresent = 0xE9; // what SeaBIOS reads before it writes
constexpr size_t kMaxLine = 512, kMaxLines = 2000;

class DebugPorts final : public Device, public IoHandler {
  public:
    explicit DebugPorts(Platform& platform) : platform_(platform) {
        platform.io.add(kPostPort, 1, this, name());
        platform.io.add(kConsolePort, 1, this, name());
    }

    [[nodiscard]] std::string_view name() const override { return "debug_ports"; }

    void reset() override { post_code_ = 0; }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        return port == kPostPort ? post_code_ : kConsolePresent;
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        if (port == kPostPort) // also Linux's I/O delay: not worth a log line
            post_code_ = byte;
        else if (byte == '\n')
            end_line();
        else if (byte != '\r' && line_.size() < kMaxLine)
            line_.push_back(byte >= ' ' && byte < 0x7F ? static_cast<char>(byte) : '?');
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.field("post_code", post_code_);
        archive.end();
    }

  private:
    void end_line() {
        base::log(base::LogLevel::Debug, "guest firmware: {}", line_);
        auto& lines = platform_.debug_console;
        if (lines.size() >= kMaxLines)
            lines.erase(lines.begin(), lines.begin() + kMaxLines / 2);
        lines.push_back(std::move(line_));
        line_.clear();
    }

    Platform& platform_;
    std::string line_;
    uint8_t post_code_ = 0;
};

} // namespace

std::unique_ptr<Device> make_debug_ports(Platform& platform) {
    return std::make_unique<DebugPorts>(platform);
}

} // namespace vmm
