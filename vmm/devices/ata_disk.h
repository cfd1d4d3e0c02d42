// A hard disk with the general feature set of ATA/ATAPI-6 (T13 1410D): CHS, LBA28 and LBA48 addressing, PIO
// single and multiple sector transfers, multiword DMA, a write cache with FLUSH CACHE. No Ultra DMA: the
// PIIX3 has none. Long transfers go through the medium in pieces of up to 256 sectors.
#pragma once
#include "vmm/devices/ata_drive.h"
#include "vmm/devices/disk_geometry.h"

namespace vmm {

class AtaDisk final : public AtaDrive {
  public:
    // `serial`: up to 20 ASCII characters, the drive's identity.
    AtaDisk(AtaHost& host, std::unique_ptr<BlockWorker> worker, std::string serial);

  private:
    // What becomes of the sectors of the command under way.
    enum class Transfer : uint8_t { None, PioRead, PioWrite, DmaRead, DmaWrite, Verify };
    enum class Addressing : uint8_t { Bits28, Bits48 };
    struct Extent {
        uint64_t lba = 0;
        uint32_t sectors = 0;
    };

    void execute(uint8_t opcode) override;
    void block_done() override;
    void set_signature() override;
    void restore_defaults() override;
    void serialize_drive(base::StateArchive& archive) override;

    [[nodiscard]] std::optional<Extent> addressed(Addressing addressing) const;
    void set_address(uint64_t lba);
    void start(Transfer transfer, Addressing addressing, uint32_t block_sectors);
    void start_multiple(Transfer transfer, Addressing addressing);
    void next_read_chunk();
    void read_done(BlockOutcome outcome);
    void next_write_chunk();
    void write_chunk_filled();
    void offer_next_block(Notify notify);
    void chunk_done();
    void complete();
    void media_error(uint64_t lba, uint8_t error);
    void flush_cache();
    void identify();
    void set_features();
    void set_multiple();
    void initialize_parameters();
    [[nodiscard]] bool writes() const {
        return transfer_ == Transfer::PioWrite || transfer_ == Transfer::DmaWrite;
    }

    std::string serial_;
    uint64_t capacity_; // sectors
    DiskGeometry native_, current_;
    uint8_t multiple_ = 0; // sectors per DRQ block of READ/WRITE MULTIPLE; 0 = not set
    uint8_t mwdma_mode_ = 2;
    bool write_cache_ = true;

    Transfer transfer_ = Transfer::None;
    Addressing addressing_ = Addressing::Bits28;
    uint64_t lba_ = 0;           // of the chunk in the buffer or at the medium
    uint32_t remaining_ = 0;     // sectors of the command from lba_ on
    uint32_t chunk_ = 0;         // sectors asked for from lba_ on
    uint32_t block_sectors_ = 1; // per DRQ block
    bool chunk_failed_ = false;  // the medium failed after the sectors that are in the buffer
};

} // namespace vmm
