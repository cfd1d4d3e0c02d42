// COM1: a 16550A UART (National Semiconductor PC16550D datasheet) at 3F8h, IRQ4. Bytes leave at once,
// whatever the divisor says: the transmitter is always empty.
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <array>
#include <vector>

namespace vmm {
namespace {

constexpr uint16_t kCom1 = 0x3F8;
constexpr unsigned kIrq = 4;
enum Offset : unsigned { kData, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScr };

constexpr uint8_t kErbfi = 0x01, kEtbei = 0x02, kElsi = 0x04, kEdssi = 0x08;
constexpr uint8_t kIirNone = 0x01, kIirModem = 0x00, kIirThrEmpty = 0x02, kIirData = 0x04, kIirLine = 0x06,
                  kIirTimeout = 0x0C, kIirFifosEnabled = 0xC0;
constexpr uint8_t kFcrEnable = 0x01, kFcrClearRx = 0x02;
constexpr uint8_t kDlab = 0x80;
constexpr uint8_t kDtr = 0x01, kRts = 0x02, kOut1 = 0x04, kOut2 = 0x08, kLoop = 0x10;
constexpr uint8_t kLsrDataReady = 0x01, kLsrOverrun = 0x02, kLsrThrEmpty = 0x20, kLsrTransmitterEmpty = 0x40;
constexpr uint8_t kCts = 0x10, kDsr = 0x20, kRi = 0x40, kDcd = 0x80, kTeri = 0x04;
constexpr unsigned kFifoSize = 16;
constexpr size_t kMaxBacklog = 64 * 1024; // from the far end, waiting for room in the FIFO

class Uart16550 final : public Device, public IoHandler {
  public:
    explicit Uart16550(Platform& platform) : platform_(platform) {
        platform.io.add(kCom1, 8, this, name());
        platform.outputs.serial_input = [this](uint8_t byte) {
            if (backlog_.size() < kMaxBacklog)
                backlog_.push_back(byte);
            refill();
        };
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "uart16550"; }

    void reset() override { // datasheet table 1; the scratch and divisor registers have no reset value
        ier_ = fcr_ = lcr_ = mcr_ = overrun_ = thr_interrupt_ = 0;
        fifo_count_ = 0;
        msr_delta_ = 0;
        update_irq();
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        switch (port - kCom1) {
        case kData:
            return dlab() ? divisor_ & 0xFF : read_data();
        case kIer:
            return dlab() ? divisor_ >> 8 : ier_;
        case kIirFcr:
            return read_iir();
        case kLcr:
            return lcr_;
        case kMcr:
            return mcr_;
        case kLsr:
            return read_lsr();
        case kMsr:
            return read_msr();
        default:
            return scratch_;
        }
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        switch (port - kCom1) {
        case kData:
            if (dlab())
                divisor_ = static_cast<uint16_t>((divisor_ & 0xFF00) | byte);
            else
                transmit(byte);
            break;
        case kIer:
            if (dlab())
                divisor_ = static_cast<uint16_t>((divisor_ & 0x00FF) | byte << 8);
            else
                write_ier(byte);
            break;
        case kIirFcr:
            write_fcr(byte);
            break;
        case kLcr:
            lcr_ = byte;
            break;
        case kMcr:
            write_mcr(byte);
            break;
        case kScr:
            scratch_ = byte;
            break;
        default:
            break; // LSR is for factory testing, MSR read-only
        }
        update_irq();
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.field("ier", ier_);
        archive.field("fcr", fcr_);
        archive.field("lcr", lcr_);
        archive.field("mcr", mcr_);
        archive.field("scratch", scratch_);
        archive.field("divisor", divisor_);
        archive.field("overrun", overrun_);
        archive.field("thr_interrupt", thr_interrupt_);
        archive.field("msr_delta", msr_delta_);
        archive.field("fifo", fifo_);
        archive.field("fifo_count", fifo_count_);
        archive.vector_field("backlog", backlog_, kMaxBacklog);
        archive.end();
        if (archive.loading()) {
            fifo_count_ = std::min<uint8_t>(fifo_count_, kFifoSize);
            ier_ &= 0x0F;
            mcr_ &= 0x1F;
            update_irq();
        }
    }

  private:
    [[nodiscard]] bool dlab() const { return (lcr_ & kDlab) != 0; }
    [[nodiscard]] bool fifos() const { return (fcr_ & kFcrEnable) != 0; }
    [[nodiscard]] unsigned capacity() const { return fifos() ? kFifoSize : 1; }
    [[nodiscard]] unsigned trigger_level() const {
        constexpr unsigned kLevels[4] = {1, 4, 8, 14};
        return fifos() ? kLevels[fcr_ >> 6] : 1;
    }

    void transmit(uint8_t byte) {
        if ((mcr_ & kLoop) != 0)
            receive(byte);
        else if (platform_.config.serial != nullptr)
            platform_.config.serial->send(byte);
        thr_interrupt_ = 1; // empty again already
    }

    void receive(uint8_t byte) {
        if (fifo_count_ < capacity()) {
            fifo_[fifo_count_++] = byte;
            return;
        }
        overrun_ = 1;
        if (!fifos()) // the old byte is destroyed; with FIFOs the new one is lost
            fifo_[0] = byte;
    }

    // The far end waits for room instead of overrunning.
    void refill() {
        if ((mcr_ & kLoop) == 0) {
            const size_t room = capacity() - std::min<unsigned>(fifo_count_, capacity());
            const size_t moved = std::min(room, backlog_.size());
            for (size_t i = 0; i < moved; ++i)
                fifo_[fifo_count_++] = backlog_[i];
            backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<ptrdiff_t>(moved));
        }
        update_irq();
    }

    uint8_t read_data() {
        if (fifo_count_ == 0)
            return 0;
        const uint8_t byte = fifo_[0];
        std::move(fifo_.begin() + 1, fifo_.begin() + fifo_count_, fifo_.begin());
        --fifo_count_;
        // Refilled only when drained: a guest that reads until empty leaves its loop, and the next bytes
        // interrupt it anew.
        if (fifo_count_ == 0)
            refill();
        else
            update_irq();
        return byte;
    }

    void write_ier(uint8_t byte) {
        if ((byte & kEtbei) != 0 && (ier_ & kEtbei) == 0)
            thr_interrupt_ = 1; // the transmitter is empty: enabling reports it
        ier_ = byte & 0x0F;
    }

    void write_fcr(uint8_t byte) {
        if (((byte ^ fcr_) & kFcrEnable) != 0 || (byte & kFcrClearRx) != 0)
            fifo_count_ = 0; // a change of mode clears the FIFOs
        // Other bits are not programmed while bit 0 is zero.
        fcr_ = (byte & kFcrEnable) != 0 ? byte & 0xC9 : 0;
        refill();
    }

    void write_mcr(uint8_t byte) {
        const uint8_t before = modem_lines();
        mcr_ = byte & 0x1F;
        const uint8_t after = modem_lines();
        const uint8_t changed = before ^ after;
        msr_delta_ |= static_cast<uint8_t>((changed & (kCts | kDsr | kDcd)) >> 4);
        if ((before & kRi) != 0 && (after & kRi) == 0)
            msr_delta_ |= kTeri; // RI: its trailing edge
        refill();
    }

    [[nodiscard]] uint8_t modem_lines() const {
        if ((mcr_ & kLoop) == 0) // a far end that is ready, or nothing plugged in
            return platform_.config.serial != nullptr ? kCts | kDsr | kDcd : 0;
        return static_cast<uint8_t>(((mcr_ & kRts) != 0 ? kCts : 0) | ((mcr_ & kDtr) != 0 ? kDsr : 0) |
                                    ((mcr_ & kOut1) != 0 ? kRi : 0) | ((mcr_ & kOut2) != 0 ? kDcd : 0));
    }

    uint8_t read_lsr() {
        const auto value =
            static_cast<uint8_t>(kLsrThrEmpty | kLsrTransmitterEmpty |
                                 (fifo_count_ != 0 ? kLsrDataReady : 0) | (overrun_ != 0 ? kLsrOverrun : 0));
        overrun_ = 0;
        update_irq();
        return value;
    }

    uint8_t read_msr() {
        const auto value = static_cast<uint8_t>(modem_lines() | msr_delta_);
        msr_delta_ = 0;
        update_irq();
        return value;
    }

    // Highest priority first (datasheet table 5).
    [[nodiscard]] uint8_t interrupt_id() const {
        if ((ier_ & kElsi) != 0 && overrun_ != 0)
            return kIirLine;
        if ((ier_ & kErbfi) != 0 && fifo_count_ != 0)
            return fifo_count_ >= trigger_level() ? kIirData : kIirTimeout; // no more is on its way
        if ((ier_ & kEtbei) != 0 && thr_interrupt_ != 0)
            return kIirThrEmpty;
        if ((ier_ & kEdssi) != 0 && msr_delta_ != 0)
            return kIirModem;
        return kIirNone;
    }

    uint8_t read_iir() {
        const uint8_t id = interrupt_id();
        if (id == kIirThrEmpty)
            thr_interrupt_ = 0;
        update_irq();
        return static_cast<uint8_t>(id | (fifos() ? kIirFifosEnabled : 0));
    }

    void update_irq() {
        // On a PC OUT2 connects the interrupt; in loopback the OUT2 pin is inactive.
        const bool connected = (mcr_ & kOut2) != 0 && (mcr_ & kLoop) == 0;
        if (platform_.irq != nullptr)
            platform_.irq->set_irq(kIrq, connected && interrupt_id() != kIirNone);
    }

    Platform& platform_;
    uint8_t ier_ = 0, fcr_ = 0, lcr_ = 0, mcr_ = 0, scratch_ = 0;
    uint16_t divisor_ = 1;
    uint8_t overrun_ = 0, thr_interrupt_ = 0, msr_delta_ = 0;
    std::array<uint8_t, kFifoSize> fifo_{};
    uint8_t fifo_count_ = 0;
    std::vector<uint8_t> backlog_;
};

} // namespace

std::unique_ptr<Device> make_uart16550(Platform& platform) { return std::make_unique<Uart16550>(platform); }

} // namespace vmm
