// System control port A (92h) of the PS/2: a fast A20 gate and processor reset (82371SB datasheet, "Port
// 92"). The last of this port and the 8042 to speak decides A20; memory holds it and the 8042 saves it.
#include "vmm/devices/device_list.h"

namespace vmm {
namespace {

constexpr uint16_t kPort92 = 0x92;
constexpr uint8_t kFastReset = 0x01, kA20 = 0x02;

class Port92 final : public Device, public IoHandler {
  public:
    explicit Port92(Platform& platform) : platform_(platform) { platform.io.add(kPort92, 1, this, name()); }

    [[nodiscard]] std::string_view name() const override { return "port92"; }

    void reset() override { value_ = 0; }

    uint32_t io_read(uint16_t /*port*/, unsigned /*size*/) override {
        return static_cast<uint8_t>((value_ & ~kA20) | (platform_.memory.a20() ? kA20 : 0));
    }

    void io_write(uint16_t /*port*/, unsigned /*size*/, uint32_t value) override {
        const bool a20 = (value & kA20) != 0;
        if (platform_.memory.a20() != a20)
            platform_.memory.set_a20(a20);
        // The reset pulse starts when the bit goes from 0 to 1.
        if ((value & ~value_ & kFastReset) != 0 && platform_.system != nullptr)
            platform_.system->request_reset();
        value_ = static_cast<uint8_t>(value);
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.field("value", value_);
        archive.end();
    }

  private:
    Platform& platform_;
    uint8_t value_ = 0;
};

} // namespace

std::unique_ptr<Device> make_port92(Platform& platform) { return std::make_unique<Port92>(platform); }

} // namespace vmm
