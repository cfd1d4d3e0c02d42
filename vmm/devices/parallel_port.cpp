// LPT1 at 378h: a standard parallel port (IBM PC/AT Technical Reference, "Printer Adapter", with the PS/2's
// direction bit) with nothing plugged in.
#include "vmm/devices/device_list.h"

namespace vmm {
namespace {

constexpr uint16_t kLpt1 = 0x378;
enum Offset : unsigned { kData, kStatus, kControl };
// The inputs float high; BUSY is inverted in the register. Bits 2-0 are unused.
constexpr uint8_t kNoPrinter = 0x7F;
constexpr uint8_t kDirectionIn = 0x20, kControlWritable = 0x3F, kControlUnused = 0xC0;

class ParallelPort final : public Device, public IoHandler {
  public:
    explicit ParallelPort(Platform& platform) { platform.io.add(kLpt1, 3, this, name()); }

    [[nodiscard]] std::string_view name() const override { return "parallel_port"; }

    void reset() override { data_ = control_ = 0; }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        switch (port - kLpt1) {
        case kData:
            return (control_ & kDirectionIn) != 0 ? 0xFF : data_;
        case kStatus:
            return kNoPrinter;
        default:
            return control_ | kControlUnused;
        }
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        if (port - kLpt1 == kData)
            data_ = static_cast<uint8_t>(value);
        else if (port - kLpt1 == kControl)
            control_ = value & kControlWritable;
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.field("data", data_);
        archive.field("control", control_);
        archive.end();
    }

  private:
    uint8_t data_ = 0, control_ = 0;
};

} // namespace

std::unique_ptr<Device> make_parallel_port(Platform& platform) {
    return std::make_unique<ParallelPort>(platform);
}

} // namespace vmm
