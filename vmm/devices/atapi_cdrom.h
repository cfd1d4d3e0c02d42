// A CD/DVD-ROM drive behind the PACKET command (ATA/ATAPI-6 ch. 9.x, MMC-3, SPC-2): an image of 2048-byte
// sectors is one data track. The ATA side lives in atapi_cdrom.cpp, the packet commands in
// atapi_packets.cpp.
#pragma once
#include "vmm/devices/ata_drive.h"

#include <array>

namespace vmm {

class AtapiCdrom final : public AtaDrive {
  public:
    // `worker` null: an empty drive.
    AtapiCdrom(AtaHost& host, std::unique_ptr<BlockWorker> worker, std::string serial);

  private:
    static constexpr size_t kPacketBytes = 12;
    static constexpr uint32_t kBlockBytes = 2048;
    struct Sense {
        uint8_t key = 0, code = 0, qualifier = 0;
    };
    using Reply = std::vector<uint8_t>;

    // ATA side.
    void execute(uint8_t opcode) override;
    void block_done() override;
    void set_signature() override;
    void restore_defaults() override;
    void reset_drive() override;
    void serialize_drive(base::StateArchive& archive) override;
    [[nodiscard]] bool interrupts_busy(uint8_t opcode) const override;
    void signature_registers();
    void identify();
    void set_features();
    void begin_packet();
    // Gives the guest buffer_, by PIO within the byte count limit or by DMA; then ends the command.
    void send_data();
    void offer_next_block();
    void next_read_chunk();
    void chunk_sent();
    void succeed();
    void fail(Sense sense);

    // Packet commands.
    void run_packet();
    void dispatch(uint8_t opcode);
    void reply(Reply data, size_t allocation_length);
    void read_blocks(uint32_t lba, uint32_t count);
    void read_cd();
    void request_sense();
    void inquiry();
    void read_capacity();
    void read_toc();
    void mode_sense(bool ten);
    void get_configuration();
    void get_event_status();
    void start_stop();
    void read_disc_information();
    void mechanism_status();
    void read_subchannel();
    [[nodiscard]] bool medium_present() const { return worker_ != nullptr && !tray_open_; }
    [[nodiscard]] uint32_t blocks() const;
    [[nodiscard]] uint32_t be32(size_t at) const;
    [[nodiscard]] uint16_t be16(size_t at) const;

    std::string serial_;
    std::array<uint8_t, kPacketBytes> packet_{};
    bool in_packet_ = false;    // the PIO-out block under way is the command packet
    bool in_identify_ = false;  // the PIO-in block under way is not a packet's data
    bool dma_ = false;          // features bit 0 of the PACKET command
    uint16_t byte_limit_ = 0;   // of one DRQ block
    uint32_t lba_ = 0;          // next block to read from the medium
    uint32_t remaining_ = 0;    // blocks
    bool chunk_failed_ = false; // the medium failed after what is in the buffer
    Sense sense_{};             // for REQUEST SENSE
    Sense attention_{};         // pending unit attention; key 0 = none
    bool tray_open_ = false, locked_ = false;
    uint8_t media_event_ = 0; // for GET EVENT STATUS NOTIFICATION
};

} // namespace vmm
