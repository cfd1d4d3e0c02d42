// What every drive on an ATA cable shares (ATA/ATAPI-6, T13 1410D): its copy of the task-file registers,
// the status register's life cycle, INTRQ, the PIO data port and the stream that bus-master DMA moves.
// AtaDisk and AtapiCdrom add the commands. Medium accesses are asynchronous: the drive is BSY until the
// BlockWorker has answered.
#pragma once
#include "vmm/base/state_archive.h"
#include "vmm/devices/block_worker.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vmm {

namespace ata {
inline constexpr uint8_t kStatusErr = 0x01, kStatusDrq = 0x08, kStatusDsc = 0x10, kStatusDrdy = 0x40,
                         kStatusBsy = 0x80;
inline constexpr uint8_t kErrorAbrt = 0x04, kErrorIdnf = 0x10, kErrorUnc = 0x40;
inline constexpr uint8_t kDiagnosticPassed = 0x01;
inline constexpr uint8_t kDeviceLba = 0x40, kDeviceDev = 0x10;
inline constexpr size_t kSectorBytes = 512;
// Fills the characters of an IDENTIFY string, high byte of each word first, padded with blanks.
void put_identify_string(std::span<uint16_t> words, std::string_view text);
// The 512-byte image of an IDENTIFY block.
std::vector<uint8_t> identify_image(const std::array<uint16_t, 256>& words);
} // namespace ata

// Offsets in the command block.
enum class AtaRegister : uint8_t {
    Data,
    ErrorFeatures,
    Count,
    LbaLow,
    LbaMid,
    LbaHigh,
    Device,
    StatusCommand
};

// The cable, as a drive sees it.
class AtaHost {
  public:
    virtual ~AtaHost() = default;
    virtual void interrupt_changed() = 0; // INTRQ may have changed
    virtual void dma_requested() = 0;     // DMARQ: the drive has data, or room for it
};

class AtaDrive {
  public:
    // `worker` may be null for a drive without medium.
    AtaDrive(AtaHost& host, std::unique_ptr<BlockWorker> worker);
    virtual ~AtaDrive() = default;

    // Task file. Device and data registers and command execution have their own entry points.
    [[nodiscard]] uint8_t read_register(AtaRegister which, bool high_order) const;
    void write_register(AtaRegister which, uint8_t value);
    [[nodiscard]] uint8_t status() const;
    void command(uint8_t opcode);
    uint32_t read_data(unsigned size);
    void write_data(unsigned size, uint32_t value);

    [[nodiscard]] bool interrupt() const { return interrupt_; }
    void clear_interrupt();

    // The DMA stream. Empty unless the drive is in a DMA data phase of that direction.
    enum class DmaDirection : uint8_t { ToMemory, FromMemory };
    [[nodiscard]] std::span<uint8_t> dma_window(DmaDirection direction);
    void dma_advance(size_t bytes);

    void power_on();
    void software_reset();                 // SRST, both edges taken together
    void run_diagnostic(uint8_t error);    // EXECUTE DEVICE DIAGNOSTIC, addressed to both drives
    void announce() { raise_interrupt(); } // the diagnostic's outcome
    // Lets requests under way finish; afterwards the drive is at rest or waiting for the guest.
    void drain();
    void serialize(base::StateArchive& archive, std::string_view section);

  protected:
    enum class Phase : uint8_t { Idle, Working, PioIn, PioOut, DmaIn, DmaOut };
    static constexpr size_t kMaxBuffer = 128 * 1024;

    virtual void execute(uint8_t opcode) = 0;
    // The guest has moved everything up to block_end_ (PIO), or the whole buffer (DMA).
    virtual void block_done() = 0;
    virtual void set_signature() = 0;    // task file after a reset
    virtual void restore_defaults() = 0; // on power-on
    virtual void serialize_drive(base::StateArchive& archive) = 0;
    virtual void reset_drive() {} // any reset, after the command under way was dropped
    // Whether `opcode` is taken even while BSY.
    [[nodiscard]] virtual bool interrupts_busy(uint8_t) const { return false; }
    void device_reset();

    void finish(uint8_t status, uint8_t error); // ends the command and interrupts
    void abort_command();
    void finish_quietly(); // ends a PIO-in command: its last block raised the interrupt
    enum class Notify : uint8_t { No, Interrupt };
    // A DRQ block [position_, position_ + bytes) of buffer_ awaits the guest.
    void offer_block(Phase phase, size_t bytes, Notify notify);
    void offer_dma(Phase phase); // the rest of buffer_
    void raise_interrupt();
    // Medium requests; the drive is Working until `then` runs. A reset meanwhile drops `then`.
    using Then = std::function<void(BlockOutcome)>;
    void read_medium(uint64_t offset, size_t length, Then then);
    void write_medium(uint64_t offset, std::vector<uint8_t> data, Then then);
    void flush_medium(Then then);

    // Task file with the previous contents that 48-bit commands use (ATA/ATAPI-6, 6.20).
    struct TaskFile {
        uint8_t features = 0, count = 0, lba_low = 0, lba_mid = 0, lba_high = 0;
    };
    TaskFile now_, previous_;
    uint8_t device_ = 0, error_ = 0, status_ = 0;
    Phase phase_ = Phase::Idle;
    std::vector<uint8_t> buffer_;
    size_t position_ = 0, block_end_ = 0;
    std::unique_ptr<BlockWorker> worker_;

  private:
    void drop_command();
    [[nodiscard]] BlockWorker::Completion guarded(Then then);

    AtaHost& host_;
    bool interrupt_ = false;
    uint64_t generation_ = 0; // of commands; a completion from before a reset is stale
};

} // namespace vmm
