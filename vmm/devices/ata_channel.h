// One IDE channel of the PIIX3: the cable with up to two drives (device selection, SRST, INTRQ) and the
// bus-master DMA engine that walks physical region descriptors (Intel 82371SB datasheet, order number 290550,
// section 2.6 "Bus Master IDE registers"; "Programming Interface for Bus Master IDE Controller" 1.0).
#pragma once
#include "vmm/bus/platform.h"
#include "vmm/devices/ata_drive.h"

#include <array>
#include <memory>

namespace vmm {

class AtaChannel final : public AtaHost {
  public:
    AtaChannel(Platform& platform, unsigned irq_line, std::string name);
    void attach(unsigned unit, std::unique_ptr<AtaDrive> drive); // 0 or 1

    void reset(); // power-on or hardware reset
    void serialize(base::StateArchive& archive);
    void drain();

    // Command block: offset 0-7; control block: the device control / alternate status register.
    uint32_t command_read(unsigned offset, unsigned size);
    void command_write(unsigned offset, unsigned size, uint32_t value);
    [[nodiscard]] uint8_t alternate_status() const;
    void device_control(uint8_t value);

    // Bus-master registers, offset 0-7, bytes.
    [[nodiscard]] uint8_t master_read(unsigned offset) const;
    void master_write(unsigned offset, uint8_t value, bool mastering_allowed);

    void interrupt_changed() override;
    void dma_requested() override { run_dma(); }

  private:
    static constexpr unsigned kUnits = 2;
    struct Region { // what is left of the descriptor in hand
        uint32_t address = 0, bytes = 0;
        uint8_t last = 0;
    };
    [[nodiscard]] AtaDrive* selected() const { return drives_[select_].get(); }
    [[nodiscard]] bool empty() const { return drives_[0] == nullptr && drives_[1] == nullptr; }
    uint8_t read_byte(unsigned offset);
    void write_byte(unsigned offset, uint8_t value);
    void execute_diagnostic();
    void run_dma();
    void fetch_region();
    // Up to `bytes` from the region in hand; false when nothing on the bus answers there.
    bool move(std::span<uint8_t> data, AtaDrive::DmaDirection direction);
    [[nodiscard]] bool answers(uint32_t address) const;

    Platform& platform_;
    unsigned irq_line_;
    std::string name_;
    std::array<std::unique_ptr<AtaDrive>, kUnits> drives_;
    // What device 0 echoes while an absent drive is selected (ATA/ATAPI-6, 9.16.1).
    std::array<uint8_t, 8> absent_{};
    uint8_t select_ = 0;
    uint8_t control_ = 0;
    bool interrupt_line_ = false;

    uint8_t master_command_ = 0, master_status_ = 0;
    uint32_t table_ = 0;      // descriptor table pointer register
    uint32_t next_entry_ = 0; // address of the next descriptor
    Region region_;
    bool running_dma_ = false; // guards against re-entry from a drive's completion
};

} // namespace vmm
