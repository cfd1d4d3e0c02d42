// The registers and command engine of an Intel 82077AA floppy disk controller in PC-AT mode; declared here so
// that its two halves, command handling (floppy82077.cpp) and data transfer (floppy_transfer.cpp), share it.
// Datasheet: Intel 82077AA, order number 290166.
#pragma once
#include "vmm/bus/platform.h"
#include "vmm/devices/floppy_drive.h"

#include <array>
#include <vector>

namespace vmm {

class Floppy82077 final : public Device, public IoHandler {
  public:
    explicit Floppy82077(Platform& platform);
    ~Floppy82077() override;

    [[nodiscard]] std::string_view name() const override { return "floppy82077"; }
    void reset() override;
    void quiesce() override;
    void serialize(base::StateArchive& archive) override;
    uint32_t io_read(uint16_t port, unsigned size) override;
    void io_write(uint16_t port, unsigned size, uint32_t value) override;

  private:
    static constexpr unsigned kDrives = 2, kSelects = 4;
    static constexpr size_t kMaxTrackBytes = 36 * FloppyGeometry::kSectorBytes;
    // Busy: a command is executing and the guest has nothing to move. FifoIn/FifoOut: non-DMA data.
    enum class Phase : uint8_t { Idle, Command, Busy, FifoIn, FifoOut, Result };
    // What follows when the guest has supplied or taken the data of the execution phase.
    enum class Operation : uint8_t { None, Read, Write, Verify, Format };

    // Registers and command phase (floppy82077.cpp).
    void write_dor(uint8_t value);
    void write_dsr(uint8_t value);
    void software_reset();
    [[nodiscard]] uint8_t main_status() const;
    [[nodiscard]] bool waiting_for_stale_request() const;
    uint8_t read_fifo();
    void write_fifo(uint8_t value);
    void execute();
    void give_result(std::initializer_list<uint8_t> bytes);
    void invalid_command() { give_result({0x80}); }
    void sense_interrupt();
    void sense_drive();
    void seek(unsigned drive, unsigned cylinder, uint8_t head);
    void recalibrate(unsigned drive);
    void seeks_finished();
    void dump_registers();
    void update_interrupt(); // drives IRQ 6
    void set_transfer_interrupt(bool level);
    void set_seek_interrupt(bool level);
    [[nodiscard]] FloppyDrive* drive(unsigned select) {
        return select < kDrives && drives_[select].present ? &drives_[select] : nullptr;
    }
    [[nodiscard]] bool dma_mode() const { return (specify_[1] & 1) == 0; }

    // Execution phase of the data commands (floppy_transfer.cpp).
    void read_id();
    void start_transfer(Operation operation);
    void start_format();
    void next_run();
    void run_read(BlockOutcome outcome);
    void deliver_run();
    void collect_run();
    void run_collected(size_t bytes, bool terminal_count);
    void run_written(const BlockOutcome& outcome);
    void run_finished(uint32_t sectors_done, bool terminal_count);
    void format_collected();
    void end_transfer(uint8_t st0, uint8_t st1, uint8_t st2);
    void fifo_data_moved();
    [[nodiscard]] uint64_t run_offset() const;
    [[nodiscard]] FloppyDrive& active() { return drives_[unit_]; }
    [[nodiscard]] BlockWorker::Completion guarded(std::function<void(BlockOutcome)> then);

    Platform& platform_;
    Clock::TimerId seek_timer_;
    std::array<FloppyDrive, kDrives> drives_;

    uint8_t dor_ = 0, tdr_ = 0, rate_ = 2;
    std::array<uint8_t, 2> specify_{};
    uint8_t configuration_ = 0x20, precompensation_track_ = 0; // FIFO disabled, polling enabled
    uint8_t perpendicular_ = 0, last_eot_ = 0;
    bool locked_ = false;
    // INT has two causes: data or results of a transfer, and seeks and resets, which SENSE INTERRUPT
    // STATUS alone acknowledges.
    bool transfer_interrupt_ = false, seek_interrupt_ = false;

    Phase phase_ = Phase::Idle;
    std::vector<uint8_t> command_, result_;
    uint8_t result_position_ = 0;
    // Seeks: targets, and what SENSE INTERRUPT STATUS will report.
    uint8_t seeking_ = 0; // bit per drive select
    std::array<uint8_t, kSelects> present_cylinder_{}, seek_target_{};
    uint8_t status_pending_ = 0; // bit per drive select
    std::array<uint8_t, kSelects> pending_st0_{};
    uint64_t seek_deadline_ = kNever;

    // The data command under way. A run is sectors of one track that follow each other.
    Operation operation_ = Operation::None;
    uint8_t unit_ = 0;        // drive, < kDrives
    uint8_t head_ = 0;        // of the run
    uint8_t sector_ = 0;      // first of the run
    uint8_t last_sector_ = 0; // EOT
    bool multi_track_ = false;
    bool chunk_failed_ = false; // the medium failed after what is in data_
    std::vector<uint8_t> data_;
    uint32_t data_position_ = 0;
    uint64_t generation_ = 0;
};

} // namespace vmm
