// PCI bus 0: configuration space access (mechanism #1 lives in the i440FX host bridge) and INTx routing.
// A PCI device derives PciDevice, fills its configuration header and gets told when a BAR moves.
#pragma once
#include "vmm/bus/device.h"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmm {

class PciDevice : public Device {
  public:
    // Raw configuration header plus write masks; reading and plain writing are done here.
    virtual uint32_t config_read(uint8_t offset, unsigned size);
    virtual void config_write(uint8_t offset, unsigned size, uint32_t value);
    // A BAR or the command register changed: claim/release ranges. Called once per change and after
    // reset and load.
    virtual void bars_changed() {}

    [[nodiscard]] bool io_enabled() const { return (config_[4] & 1) != 0; }
    [[nodiscard]] bool memory_enabled() const { return (config_[4] & 2) != 0; }
    [[nodiscard]] bool bus_master_enabled() const { return (config_[4] & 4) != 0; }
    [[nodiscard]] uint32_t bar(unsigned index) const; // address bits only

  protected:
    void set_id(uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision);
    void set_bar_size(unsigned index, uint32_t bytes, bool io); // power of two
    void set_word(uint8_t offset, uint16_t value);
    void serialize_config(base::StateArchive& archive);
    void reset_config(); // command, BARs and interrupt line back to zero

    std::array<uint8_t, 256> config_{};
    std::array<uint8_t, 256> writable_{}; // bits the guest may change
    std::array<uint32_t, 6> bar_size_{};
};

class PciBus {
  public:
    // device 0-31, function 0-7. The caller keeps ownership.
    void attach(unsigned device, unsigned function, PciDevice* target);
    [[nodiscard]] PciDevice* at(unsigned device, unsigned function) const;
    uint32_t config_read(uint32_t address, unsigned size); // address as in CF8h, plus low two bits
    void config_write(uint32_t address, unsigned size, uint32_t value);

    // Drives INTA#..INTD# (pin 0-3) of a slot; the router (PIIX3) decides the ISA line.
    class Router {
      public:
        virtual ~Router() = default;
        virtual void set_intx(unsigned device, unsigned pin, bool level) = 0;
    };
    void set_router(Router* router) { router_ = router; }
    void set_intx(unsigned device, unsigned pin, bool level) {
        if (router_ != nullptr)
            router_->set_intx(device, pin, level);
    }

  private:
    std::array<std::array<PciDevice*, 8>, 32> slots_{};
    Router* router_ = nullptr;
};

} // namespace vmm
